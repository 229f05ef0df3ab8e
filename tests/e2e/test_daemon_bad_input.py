"""What the daemon says and does when something is wrong: one sentence, the right code, no harm."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flannel_sdk.agent.status_client import ask
from flannel_sdk.errors import FlannelError
from flannel_sdk.testing.namespaces import Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]
GOOD = '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'


def program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flannel_sdk.cli", *arguments]


class Site:
    """One node's namespace and folder."""

    def __init__(self, netns: Namespace, folder: Path) -> None:
        netns.add_veth("eth0", "192.0.2.1/24")
        self.netns = netns
        self.folder = folder
        self.store = folder / "net.db"
        self.socket = folder / "agent.sock"

    def put_config(self, document: str) -> None:
        options = ["--store", "sqlite", "--store-option", f"path={self.store}"]
        subprocess.run(
            program("config", "put", "-", *options),
            input=document,
            text=True,
            check=True,
            capture_output=True,
        )

    def sql(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.store, isolation_level=None)) as connection:
            connection.execute(statement, values)
        os.utime(self.store)

    def command(self, *prefix: str, iface: Sequence[str] = ("--iface", "eth0")) -> list[str]:
        return [
            *("ip", "netns", "exec", self.netns.name, *prefix),
            *program("daemon", "--store", "sqlite", "--store-option", f"path={self.store}"),
            *iface,
            *(
                "--subnet-file",
                str(self.folder / "subnet.env"),
                "--status-socket",
                str(self.socket),
            ),
        ]

    def fails(self, *prefix: str, iface: Sequence[str] = ("--iface", "eth0")) -> str:
        """Run the daemon, which has to end with code 1 and one sentence; the sentence."""
        done = subprocess.run(
            self.command(*prefix, iface=iface),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        *_, sentence = done.stderr.splitlines()
        assert sentence.startswith("flannel-sdk: ")
        return sentence

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[str]"]:
        process = subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)

    def wait_status(self, what: str, **wanted: object) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                status = ask(self.socket, "status")
            except FlannelError:
                status = {}
            assert isinstance(status, dict)
            if wanted.items() <= status.items():
                return status
            time.sleep(0.02)
        raise AssertionError(f"not within 10 s: {what}")


@pytest.fixture
def site(netns: Namespace, tmp_path: Path) -> Site:
    return Site(netns, tmp_path)


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ('{"Network": "10.5.0.0/16", "SubnetLen": 40}', "SubnetLen"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}', "SubnetMin"),
        ('{"EnableIPv4": false}', "EnableIPv4"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": -1}}', "Backend.VNI"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "teleport"}}', "teleport"),
        ("not json", "JSON"),
    ],
)
def test_d33_a_wrong_configuration_ends_it_with_the_keys_name(
    site: Site, document: str, key: str
) -> None:
    site.put_config(GOOD)
    site.sql("UPDATE config SET document = ?", document)
    assert key in site.fails()


def test_a_file_that_is_no_store_is_left_as_it_is(site: Site) -> None:
    site.store.write_bytes(b"somebody's notes, nothing else" * 100)
    before = site.store.read_bytes()
    assert str(site.store) in site.fails()
    assert site.store.read_bytes() == before


def test_an_interface_that_is_not_there_is_named(site: Site) -> None:
    site.put_config(GOOD)
    said = site.fails(iface=["--iface", "eth9", "--iface-patience", "0.2"])
    assert "there is no network interface called eth9: check --iface" in said
    said = site.fails(iface=["--iface-regex", "^eth9", "--iface-patience", "0"])
    assert "'^eth9' matches: check --iface-regex" in said


def test_a_missing_right_is_named(site: Site) -> None:
    site.put_config(GOOD)
    assert "CAP_NET_ADMIN" in site.fails(
        "setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"
    )
    assert "flannel.1" not in site.netns.ip("link")


def test_a_configuration_that_comes_late_is_waited_for_and_said_once(site: Site) -> None:
    with site.running() as process:
        site.wait_status("waiting for the configuration", state="starting")
        site.put_config(GOOD)
        site.wait_status("the network", state="running")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert log.count("with flannel-sdk config put") == 1


HOSTILE = {
    "10.5.9.0-24": b"not json",
    "10.5.10.0-24": b'{"PublicIP":"192.0.2.10","BackendType":"vxlan","BackendData":{"VtepMAC":7}}',
    "10.6.1.0-24": b'{"PublicIP":"192.0.2.11","BackendType":"vxlan"}',
    "10.5.2.0-25": b'{"PublicIP":"192.0.2.12","BackendType":"vxlan"}',
    "10.5.11.0-24": b'{"PublicIP":"127.0.0.1","BackendType":"vxlan"}',
    "10.5.12.0-24": b'{"PublicIP":"224.0.0.5","BackendType":"vxlan"}',
    "10.5.13.0-24": b'{"PublicIP":"192.0.2.1","BackendType":"vxlan"}',
    "rm -rf": b"{}",
}


def test_d1_hostile_entries_are_ignored_and_the_good_one_is_served(site: Site) -> None:
    site.put_config(GOOD)
    mac = "02:00:00:00:00:02"
    good = f'{{"PublicIP":"192.0.2.2","BackendType":"vxlan","BackendData":{{"VtepMAC":"{mac}"}}}}'
    insert = "INSERT INTO leases (key, value, expires) VALUES (?, ?, ?)"
    expires = time.time() + 3600
    site.sql(insert, "10.5.2.0-24", good.encode(), expires)
    own = "192.0.2.1"
    for key, value in HOSTILE.items():
        if own.encode() + b'"' not in value:
            site.sql(insert, key, value, expires)
    with site.running():
        site.wait_status("the network", state="running")
        site.sql(insert, "10.5.13.0-24", HOSTILE["10.5.13.0-24"], expires)
        deadline = time.monotonic() + 10
        while True:
            status = site.wait_status("the network", state="running")
            if sum(status["feed"]["refused"].values()) == 5 or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        assert sum(status["feed"]["refused"].values()) == 5, status["feed"]
        assert status["feed"]["malformed"] == 2
        assert status["feed"]["peers"] == 2
        assert sum(status["dataplane"]["peers"]["refused"].values()) == 1
        routes = site.netns.ip("route show dev flannel.1")
        assert routes.startswith("10.5.2.0/24 ")
        assert len(routes.splitlines()) == 1
        assert mac in site.netns.bridge("fdb show dev flannel.1")
