"""What the other tests stand on: servers that start, fail and end as they are told, and a proxy."""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests import servers
from plugins.etcd.tests.certificates import Authority
from plugins.etcd.tests.control import Refused
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[3]


def test_keys_leases_and_compaction(etcd: Cluster, prefix: str) -> None:
    lease = etcd.control.grant(60)
    revision = etcd.control.put(f"{prefix}/a", "1", lease)
    stored = etcd.control.get(f"{prefix}/a")
    assert stored == (f"{prefix}/a", "1", revision, lease)
    assert lease in etcd.control.leases()
    assert 0 < etcd.control.ttl(lease) <= 60
    etcd.control.revoke(lease)
    assert etcd.control.keys(prefix) == []
    assert etcd.control.ttl(lease) == -1


def test_a_killed_server_comes_back_with_its_data(start_etcd: StartEtcd) -> None:
    etcd = start_etcd(Setup())
    etcd.control.put("/a", "1")
    etcd.member.kill()
    assert not etcd.member.running
    with pytest.raises(OSError, match="refused"):
        etcd.control.get("/a")
    etcd.member.start()
    etcd.member.wait_healthy()
    assert [stored.value for stored in etcd.control.keys("/")] == ["1"]


def test_three_members_outlive_their_leader(start_etcd: StartEtcd) -> None:
    etcd = start_etcd(Setup(members=3))
    first = etcd.leader()
    first.kill()
    others = [member for member in etcd.members if member is not first]
    for member in others:
        member.wait_healthy()
    etcd.control.put("/a", "1")
    first.start()
    first.wait_healthy()
    assert first.control.get("/a") is not None


def test_users_and_rights(start_etcd: StartEtcd) -> None:
    etcd = start_etcd(Setup())
    etcd.control.add_user("reader", "secret", roles=["reading"])
    etcd.control.allow("reading", "/a", "READ")
    etcd.control.enable_auth("root-secret")
    etcd.control.put("/a", "1")
    etcd.control.login("reader", "secret")
    assert etcd.control.get("/a") is not None
    with pytest.raises(Refused, match="permission denied"):
        etcd.control.put("/a", "2")
    with pytest.raises(Refused, match="authentication failed"):
        etcd.control.login("reader", "wrong")


def test_tls_wants_the_right_certificates(
    mtls_etcd: Cluster, tls_etcd: Cluster, prefix: str
) -> None:
    for cluster in (mtls_etcd, tls_etcd):
        cluster.control.put(f"{prefix}/a", "1")
        assert cluster.control.get(f"{prefix}/a") is not None


def test_a_server_dies_with_its_test_process(tmp_path: Path) -> None:
    script = """
import time
from plugins.etcd.tests.servers import Setup, start_cluster
cluster = start_cluster(Setup())
print(cluster.member.pid, cluster.member.port, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as owner:
        assert owner.stdout is not None
        pid, _ = map(int, owner.stdout.readline().split())
        folders = list(Path(tempfile.gettempdir()).glob(f"flannel-sdk-etcd-{owner.pid}-*"))
        assert len(folders) == 1
        os.kill(owner.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "the server outlived its test process"
        time.sleep(0.01)
    servers.remove_orphans()
    assert not folders[0].exists()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_port_that_is_taken_meanwhile_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        real = servers.claim_port
        calls = itertools.count(1)

        def the_second_is_taken() -> servers.Claim:
            claim = real()
            return servers.Claim(taken, claim.held) if next(calls) == 2 else claim

        monkeypatch.setattr(servers, "claim_port", the_second_is_taken)
        cluster = servers.start_cluster(Setup())
    try:
        assert str(taken) not in cluster.member.peer_url
        cluster.control.put("/a", "1")
    finally:
        cluster.release()


async def test_the_proxy_falls_silent_and_heals(
    etcd: Cluster, prefix: str, open_proxy: OpenProxy
) -> None:
    proxy = await open_proxy(etcd.member.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
    proxy.silence()
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    proxy.heal()
    assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), 5)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)
    await eventually(lambda: proxy.open_connections == 0, "the proxy dropped its connection")
    writer.close()


async def test_the_proxy_refuses(etcd: Cluster, open_proxy: OpenProxy) -> None:
    proxy = await open_proxy(etcd.member.port)
    proxy.refuse()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)
    writer.close()


def test_certificates_of_one_label_are_replaced(authority: Authority) -> None:
    first = authority.client(label="rotating")
    assert first.cert is not None
    before = first.cert.read_bytes()
    assert authority.client(label="rotating") == first
    assert first.cert.read_bytes() != before
