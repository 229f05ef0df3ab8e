"""The wheels and sdists build without a network and hold what they should, and nothing else."""

import email
import email.message
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from flannel_sdk import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DATA = ("py.typed", "*.pyi", "*.binpb", "*.o", "*.tmpl")
LEFT_OUT = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "results")


class Project(NamedTuple):
    """A distribution of this repository, its folder and its import package."""

    distribution: str
    folder: str
    package: str

    @property
    def stem(self) -> str:
        return f"{self.distribution.replace('-', '_')}-{__version__}"


PROJECTS = [
    Project("flannel-sdk", ".", "flannel_sdk"),
    *(
        Project(f"flannel-sdk-{path.parent.name}", f"plugins/{path.parent.name}", package.name)
        for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))
        for package in path.parent.glob("src/flannel_sdk_*")
        if package.suffix != ".egg-info"
    ),
]


class Built(NamedTuple):
    """Both forms of a distribution; ``wheel`` is built from the sdist, ``direct`` from the tree."""

    project: Project
    sdist: Path
    wheel: Path
    direct: Path

    def metadata(self) -> email.message.Message:
        with zipfile.ZipFile(self.wheel) as wheel:
            text = wheel.read(f"{self.project.stem}.dist-info/METADATA").decode()
        return email.message_from_string(text)

    def wheel_files(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as wheel:
            return set(wheel.namelist())

    def sdist_files(self) -> set[str]:
        with tarfile.open(self.sdist) as sdist:
            names = [member.name for member in sdist.getmembers() if member.isfile()]
        return {name.removeprefix(f"{self.project.stem}/") for name in names}


def build(source: Path, out: Path, *what: str) -> None:
    """Build with the setuptools of this environment: no isolation, so no download."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(out), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def all_built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    """Every distribution, built from a copy of the tree as it lies here, bytecode and tests too."""
    tree = tmp_path_factory.mktemp("tree") / "copy"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)

    def make(project: Project) -> tuple[str, Built]:
        out = tmp_path_factory.mktemp(project.package)
        build(tree / project.folder, out)
        build(tree / project.folder, out / "direct", "--wheel")
        wheel = f"{project.stem}-py3-none-any.whl"
        sdist = out / f"{project.stem}.tar.gz"
        return project.distribution, Built(project, sdist, out / wheel, out / "direct" / wheel)

    # The core first, alone: the folders of the others lie in its own.
    first, *others = PROJECTS
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict([make(first), *pool.map(make, others)])


@pytest.fixture(params=[project.distribution for project in PROJECTS])
def built(request: pytest.FixtureRequest, all_built: dict[str, Built]) -> Built:
    return all_built[request.param]


def modules_of(project: Project) -> set[str]:
    base = ROOT if project.folder == "." else ROOT / project.folder / "src"
    files = (base / project.package).rglob("*.py")
    return {str(file.relative_to(base)) for file in files}


def data_of(project: Project) -> set[str]:
    """What a package needs beside its modules: the typing mark, stubs, descriptors, programs."""
    base = ROOT if project.folder == "." else ROOT / project.folder / "src"
    files = {f for kind in DATA for f in (base / project.package).rglob(kind)}
    return {str(file.relative_to(base)) for file in files}


def test_the_wheel_holds_the_package_and_its_papers(built: Built) -> None:
    info = f"{built.project.stem}.dist-info"
    papers = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "top_level.txt")}
    papers |= {f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"}
    expected = modules_of(built.project) | data_of(built.project) | papers
    assert f"{built.project.package}/py.typed" in expected
    assert built.wheel_files() == expected


def test_the_sdist_holds_what_the_wheel_needs_and_no_junk(built: Built) -> None:
    files = built.sdist_files()
    prefix = "" if built.project.folder == "." else "src/"
    needed = {prefix + module for module in modules_of(built.project)}
    assert needed <= files
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= files
    rest = {name for name in files - needed if ".egg-info/" not in name}
    data = {prefix + name for name in data_of(built.project)}
    sources = {name for name in rest if name.startswith(("proto/", "bpf/"))}
    assert bool(sources) == any(name.endswith((".binpb", ".o")) for name in data), (
        "what it is made from"
    )
    allowed = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", "MANIFEST.in", "setup.cfg"}
    assert rest - allowed - sources == data


def test_the_sdist_builds_the_same_wheel(built: Built) -> None:
    def contents(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}

    assert contents(built.wheel) == contents(built.direct)


def test_the_metadata(built: Built) -> None:
    metadata = built.metadata()
    assert metadata["Name"] == built.project.distribution
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(str(metadata.get_payload()).strip()) > 200, "the README is the description"


def test_a_plugin_pins_the_core(built: Built) -> None:
    needs = built.metadata().get_all("Requires-Dist", [])
    needed = [need for need in needs if "extra ==" not in need]
    if built.project.distribution == "flannel-sdk":
        names = {need.split(">")[0].split("<")[0] for need in needed}
        assert names == {"pyroute2", "stevedore", "typing-extensions", "rich", "prometheus-client"}
    else:
        assert f"flannel-sdk=={__version__}" in needed


def run_installed(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, "PYTHONPATH": str(target)},
        cwd=target,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="session")
def target(all_built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheels are installed into."""
    folder = tmp_path_factory.mktemp("installed")
    wheels: Sequence[str] = [str(built.wheel) for built in all_built.values()]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(folder), *wheels], check=True, timeout=180)
    return folder


def test_every_module_of_the_wheels_imports(target: Path) -> None:
    modules = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for project in PROJECTS
        for name in sorted(modules_of(project))
        if "__main__" not in name
    ]
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "import flannel_sdk; print(flannel_sdk.__file__)"
    done = run_installed(target, "-c", script, *modules)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(target))


def test_the_installed_plugins_all_work(target: Path) -> None:
    done = run_installed(target, "-m", "flannel_sdk.cli", "plugins")
    rows = [line.split(maxsplit=5) for line in done.stdout.splitlines()[1:]]
    assert {row[1] for row in rows} >= {
        "vxlan",
        "host-gw",
        "alloc",
        "extension",
        "exec",
        "udp",
        "memory",
        "sqlite",
        "etcd",
        "etcd3",
        "kube",
    }
    assert [row for row in rows if row[5] != "ok"] == []
