"""``flannel-sdk conformance``, and the suite in projects of other people's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text("utf-8")
WITHOUT_RIGHTS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")


def run(
    folder: Path, *command: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [*before, sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "flannel_sdk.cli", "conformance", *arguments)


def suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "pytest", "--pyargs", "flannel_sdk.testing.suite", *arguments)


def test_a_line_for_each_requirement_and_the_sum(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise SystemExit('nobody asked for this folder')")
    done = conformance(tmp_path, "alloc", "--level", "1", "--no-dataplane", "--report", "all.json")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split(None, 2)[:2] == ["B001", "held"]
    ids = [line.split()[0] for line in lines if line.startswith("B")]
    assert ids == sorted(ids)
    assert lines[-1] == "requirements held: 11 of 11 (22 does not apply)"
    assert lines[-2].startswith("does not apply: B104 to B116, B119 to B124, B131 to B133: ")
    (subject,) = json.loads((tmp_path / "all.json").read_text())["subjects"]
    assert (subject["name"], subject["held"]) == ("alloc", 11)


BIG = """
from flannel_sdk_hostgw.backend import HostGwBackend


class Big(HostGwBackend):
    async def register_network(self, config, leases):
        network = await super().register_network(config, leases)
        network._mtu = 9000
        return network


class Plugin:
    contract_version = 1

    def create(self, context):
        return Big(context)


plugin = Plugin()
"""


def installed(folder: Path, name: str, module: str) -> None:
    """A distribution with one backend, on the path of programs that run in ``folder``."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[flannel_sdk.backends]\n{name} = {name}:plugin\n")


def test_what_is_broken_is_said_in_a_sentence(tmp_path: Path) -> None:
    installed(tmp_path, "big", BIG)
    done = conformance(tmp_path, "big", "--level", "1")
    assert done.returncode == 1
    assert "B102  BROKEN" in done.stdout
    assert "IPv4: mtu is 9000 on an underlay of 1500" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["vxlam"], 1, "did you mean vxlan?"),
        (["vxlan", "--report", "no/all.md"], 2, "no such folder"),
        (["vxlan", "--level", "0", "--option", "VNI"], 2, "KEY=VALUE"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = conformance(tmp_path, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_backend_that_cannot_load_says_so_in_a_line(tmp_path: Path) -> None:
    installed(tmp_path, "broken", "import nothing_of_that_name")
    done = conformance(tmp_path, "broken", "--level", "1")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "nothing_of_that_name" in line]
    assert "cannot be imported" in line
    assert "left out: B002 to B136: the backend does not load: see B001" in done.stdout


def test_without_rights_level_1_still_runs(tmp_path: Path) -> None:
    command = ("flannel_sdk.cli", "conformance", "host-gw")
    done = run(tmp_path, *command, before=WITHOUT_RIGHTS if os.geteuid() == 0 else ())
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("left out")]
    assert line.startswith("left out: B201 to B305: network namespaces cannot be made here")
    assert "run it as root (sudo)" in line
    assert "requirements held: 32 of 46" in done.stdout


def test_the_suite_stands_strict_settings_and_other_plugins(tmp_path: Path) -> None:
    """pytest-asyncio and anyio are there, warnings are errors, and files have other names."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers --strict-config --import-mode=importlib\n"
        "filterwarnings = error\nasyncio_mode = auto\nxfail_strict = true\n"
        "asyncio_default_fixture_loop_scope = function\npython_files = check_*.py\n"
    )
    done = suite(tmp_path, "--flannel-backend", "host-gw", "--flannel-level", "1", "-p", "anyio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backend host-gw: requirements held: 32 of 32 (1 does not apply)" in done.stdout


def test_the_suite_asks_whom_to_judge(tmp_path: Path) -> None:
    done = suite(tmp_path)
    assert done.returncode == 4
    assert "--flannel-backend NAME or --flannel-subnet-manager NAME" in done.stderr


def test_the_plugin_costs_a_project_without_kits_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    ours = {name for name in sys.modules if name.startswith('flannel_sdk')}\n"
        "    assert ours == {'flannel_sdk', 'flannel_sdk.testing',"
        " 'flannel_sdk.testing.pytest_plugin'}\n"
    )
    done = run(tmp_path, "pytest", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "requirements" not in done.stdout


def test_what_the_page_says_runs(tmp_path: Path) -> None:
    """As far as level 0; the other tests go further."""
    commands = [text.split() for text in re.findall(r"```bash\n(.*?)\n```", PAGE, re.DOTALL)]
    assert [command[0] for command in commands] == ["flannel-sdk", "pytest"]
    (module,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_mine.py").write_text(module)
    for command in (*commands, ["pytest", "test_mine.py"]):
        program = "flannel_sdk.cli" if command[0] == "flannel-sdk" else "pytest"
        level = "--level" if command[0] == "flannel-sdk" else "--flannel-level"
        done = run(tmp_path, program, *command[1:], level, "0")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "requirements held: 2 of 2" in done.stdout
    assert "| B002 |" in (tmp_path / "report.md").read_text()


def test_the_list_of_requirements_is_the_kits() -> None:
    from docs.hooks.requirements_page import PAGE as written
    from docs.hooks.requirements_page import requirements_page

    says = "run: python -m docs.hooks.requirements_page"
    assert written.read_text() == requirements_page(), says


def test_xdist_brings_the_verdicts_together(tmp_path: Path) -> None:
    done = suite(tmp_path, "--flannel-backend", "host-gw", "--flannel-level", "0", "-n", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backend host-gw: requirements held: 2 of 2" in done.stdout
