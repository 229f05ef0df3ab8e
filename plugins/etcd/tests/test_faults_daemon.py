"""The real daemon on a real etcd: what it waits out, what it ends with, and what stays."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flannel_sdk.agent.status_client import ask
from flannel_sdk.errors import FlannelError
from flannel_sdk.testing.namespaces import Namespace
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.load import lease_keys, leases_in_use
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = [pytest.mark.root, pytest.mark.server, pytest.mark.slow]

PASSWORD = "correct-horse"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}'


class Daemon:
    """One node's daemon in its namespace, and what it said."""

    def __init__(self, netns: Namespace, folder: Path, arguments: list[str]) -> None:
        self.log = folder / "daemon.log"
        self.subnet_file = folder / "subnet.env"
        self._socket = folder / "agent.sock"
        self._command = [
            *("ip", "netns", "exec", netns.name, sys.executable, "-m", "flannel_sdk.cli", "daemon"),
            *("--store", "etcd", "--iface", "eth0", *arguments),
            *("--subnet-file", str(self.subnet_file), "--status-socket", str(self._socket)),
        ]

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        with self.log.open("wb") as log:
            process = subprocess.Popen(self._command, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield process
            assert process.poll() is None, self.said()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, self.said()
            assert "Traceback" not in self.said()
        finally:
            process.kill()
            process.wait(10)

    def fails(self) -> str:
        """It ends with code 1 and one sentence, soon."""
        done = subprocess.run(
            self._command, capture_output=True, text=True, timeout=15, check=False
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert PASSWORD not in done.stderr
        *_, sentence = done.stderr.splitlines()
        assert sentence.startswith("flannel-sdk: ")
        return sentence

    def said(self) -> str:
        return self.log.read_text()

    def fact(self, *path: str) -> object:
        """A fact of its status; None if it is not there (yet)."""
        try:
            answer = ask(self._socket, "status")
        except FlannelError:
            return None
        for name in path:
            answer = answer.get(name) if isinstance(answer, dict) else None
        return answer

    def runs(self) -> None:
        wait(lambda: self.fact("state") == "running", f"it runs; it said: {self.said()}")


def wait(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def node(netns: Namespace) -> Namespace:
    """A node's namespace with an underlay."""
    netns.add_veth("eth0", "192.0.2.1/24")
    return netns


def flags(etcd: Cluster, prefix: str, *more: str) -> list[str]:
    return [f"--etcd-endpoints={etcd.member.url}", f"--etcd-prefix={prefix}", *more]


def test_an_etcd_that_is_down_at_first_and_killed_later(
    node: Namespace, start_etcd: StartEtcd, prefix: str, tmp_path: Path
) -> None:
    etcd = start_etcd(Setup(namespace=node))
    etcd.control.put(f"{prefix}/config", CONFIG)
    etcd.member.kill()
    daemon = Daemon(node, tmp_path, flags(etcd, prefix))
    with daemon.running():
        wait(lambda: "refused the connection" in daemon.said(), "it says that etcd is down")
        assert daemon.said().count("level=warning") == 1, daemon.said()
        etcd.member.restart()
        daemon.runs()
        held = daemon.fact("lease", "subnets")
        file = daemon.subnet_file.read_text()

        etcd.member.restart()
        etcd.control.delete(f"{prefix}/subnets/", prefix=True)
        wait(lambda: daemon.fact("keeper", "reacquisitions") == 1, "it takes its lease again")
        wait(lambda: len(lease_keys(etcd.control, prefix)) == 1, "its lease is there")
        assert daemon.fact("lease", "subnets") == held
        assert daemon.subnet_file.read_text() == file

        theirs = '{"PublicIP":"192.0.2.99","BackendType":"host-gw"}'
        (key,) = lease_keys(etcd.control, prefix)
        etcd.control.put(f"{prefix}/subnets/{key}", theirs)
        wait(lambda: daemon.fact("keeper", "reacquisitions") == 2, "another one")
        wait(lambda: daemon.fact("lease", "subnets") not in (None, held), "another subnet")
        wait(lambda: daemon.subnet_file.read_text() != file, "a new subnet.env")
        stored = etcd.control.get(f"{prefix}/subnets/{key}")
        assert stored is not None
        assert stored.value == theirs
        wait(
            lambda: etcd.control.leases() == leases_in_use(etcd.control), "no etcd lease left over"
        )
    assert len(lease_keys(etcd.control, prefix)) == 2, "the lease stays for the next start"


def test_a_wrong_password_ends_it(
    node: Namespace, start_etcd: StartEtcd, prefix: str, tmp_path: Path
) -> None:
    etcd = start_etcd(Setup(namespace=node))
    etcd.control.put(f"{prefix}/config", CONFIG)
    etcd.control.enable_auth("root-password")
    users = ["--etcd-username=root", f"--etcd-password={PASSWORD}"]
    sentence = Daemon(node, tmp_path, flags(etcd, prefix, *users)).fails()
    assert "password" in sentence
    assert "root" in sentence


def test_a_wrong_ca_ends_it(
    node: Namespace,
    start_etcd: StartEtcd,
    prefix: str,
    tmp_path: Path,
    authority: Authority,
) -> None:
    stranger = Authority(tmp_path, "wrong-ca")
    etcd = start_etcd(
        Setup(namespace=node, tls=authority.server(label="netns"), control=authority.trust)
    )
    daemon = Daemon(node, tmp_path, flags(etcd, prefix, f"--etcd-cafile={stranger.ca}"))
    assert "certificate" in daemon.fails()


def test_a_user_who_may_not_write_is_waited_for(
    node: Namespace, start_etcd: StartEtcd, prefix: str, tmp_path: Path
) -> None:
    etcd = start_etcd(Setup(namespace=node))
    etcd.control.put(f"{prefix}/config", CONFIG)
    etcd.control.add_user("flannel", PASSWORD, roles=["network"])
    etcd.control.allow("network", prefix, "READ")
    etcd.control.enable_auth("root-password")
    users = ["--etcd-username=flannel", f"--etcd-password={PASSWORD}"]
    daemon = Daemon(node, tmp_path, flags(etcd, prefix, *users))
    with daemon.running():
        wait(lambda: "trying again" in daemon.said(), "a warning")
        etcd.control.allow("network", prefix)
        daemon.runs()
    assert PASSWORD not in daemon.said()


def test_a_full_etcd_is_waited_for(
    node: Namespace, start_etcd: StartEtcd, prefix: str, tmp_path: Path
) -> None:
    etcd = start_etcd(Setup(namespace=node, flags=("--quota-backend-bytes=300000",)))
    etcd.control.put(f"{prefix}/config", CONFIG)
    etcd.control.fill()
    daemon = Daemon(node, tmp_path, flags(etcd, prefix))
    with daemon.running():
        wait(lambda: "space" in daemon.said(), "it says that etcd is full")
        etcd.control.make_room()
        daemon.runs()
