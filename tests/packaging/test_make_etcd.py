"""Make gets an etcd server where there is none, without installing it on the machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEBIAN = "usr/bin/etcd"


class Machine:
    """A PATH of a few real tools and of what a test puts there, and a virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.prefix = folder / "venv"
        self.log = folder / "log"
        self.bin.mkdir()
        self.prefix.mkdir()
        for name in ("sh", "mktemp", "rm", "mv", "mkdir", "tail", "grep", "touch", "chmod"):
            found = shutil.which(name)
            assert found is not None
            (self.bin / name).symlink_to(found)
        self.put("uname", "echo riscv64")
        # finds a server where Debian's has been fetched, and nowhere else
        self.put(
            "python",
            f'echo "python $*" >> {self.log}\n'
            f'case "$*" in *sys.prefix*) echo {self.prefix};;\n'
            f"*find_server*) test -x {self.fetched};; *pip*) exit 1;; esac",
        )

    @property
    def fetched(self) -> Path:
        return self.prefix / "etcd" / DEBIAN

    def put(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def has_debian(self, download: str = "touch etcd-server_1_amd64.deb") -> None:
        self.put("apt-get", f'echo "apt-get $*" >> {self.log}\n{download}')
        self.put(
            "dpkg",
            f"mkdir -p root/usr/bin; echo '#!/bin/sh' > root/{DEBIAN}; chmod +x root/{DEBIAN}",
        )

    def run(self, task: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(ROOT / ".ci" / "etcd.sh"), task, str(self.bin / "python")],
            env={"PATH": str(self.bin), **environ},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def calls(self) -> str:
        return self.log.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_there_is_kept(machine: Machine) -> None:
    machine.fetched.parent.mkdir(parents=True)
    machine.fetched.touch()
    machine.fetched.chmod(0o755)
    done = machine.run("need")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pip" not in machine.calls()


def test_debians_is_fetched_where_pip_has_none(machine: Machine) -> None:
    machine.has_debian()
    done = machine.run("need")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert os.access(machine.fetched, os.X_OK)
    assert "install" not in machine.calls()
    assert [path.name for path in machine.prefix.iterdir()] == ["etcd"]


def test_pip_is_asked_first_where_it_may_have_one(machine: Machine) -> None:
    machine.put("uname", "echo x86_64")
    machine.has_debian()
    assert machine.run("need").returncode == 0
    assert "plugins/etcd/[lab]" in machine.calls()


def test_package_lists_are_fetched_where_they_are_missing(machine: Machine) -> None:
    lists = machine.log.with_name("lists")
    machine.has_debian(
        f"case $1 in update) touch {lists};; *) test -e {lists} && touch etcd-server_1_a.deb;; esac"
    )
    done = machine.run("debian")
    assert (done.returncode, done.stderr) == (0, "")
    assert "apt-get update" in machine.calls()


def test_no_server_is_one_sentence(machine: Machine) -> None:
    machine.has_debian("echo E: Unable to locate package etcd-server >&2; exit 100")
    done = machine.run("need")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "make: no etcd server could be fetched (E: Unable to locate package etcd-server):"
        " install one, or name its program: make ETCD=/path/to/etcd\n"
    )
    assert list(machine.prefix.iterdir()) == []


def test_a_machine_without_apt_says_so(machine: Machine) -> None:
    done = machine.run("debian")
    assert done.returncode == 1
    assert done.stderr == (
        "make: Debian's etcd could not be fetched, its tests will be skipped: there is no apt-get\n"
    )


def test_a_named_server_that_is_not_there_is_not_replaced(machine: Machine) -> None:
    machine.has_debian()
    assert machine.run("need", ETCD="/nowhere/etcd").returncode == 1
    assert "apt-get" not in machine.calls()
