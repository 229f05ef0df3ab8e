"""doctor in a cluster: all is well at first; then one layer after the other is broken."""

import asyncio
import fcntl
import json
import os
import re
import shutil
import socket
import sqlite3
import struct
import sys
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from ctypes import addressof, create_string_buffer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest
import pytest_asyncio

from flannel_sdk.lab import Families, Lab, LabNames, LabSpec
from flannel_sdk.lab.daemon import flannel_sdk_daemon
from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.names import netns_path
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.netns import run_in_netns
from tests.deploy.queries import expressions, selectors
from tests.e2e.conftest import INSTANCE
from tests.e2e.middlebox import unfinished_checksums

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

HEALTHZ_PORT = "8081"
SECRET = "hunter2-planted-for-the-bundle"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's own fixture checks after the last one."""


def daemon_with_health(spec: LabSpec, files: NodeFiles) -> Sequence[str]:
    return [*flannel_sdk_daemon(spec, files), "--healthz-port", HEALTHZ_PORT]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(
    kernel_lacks: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    """Two nodes, both families; a secret in the configuration."""
    for need in sorted({"veth", "bridge", "vxlan", "IPv6"} & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    directory = tmp_path_factory.mktemp("lab")
    spec = LabSpec(nodes=2, families=Families.DUAL, backend_options={"PSK": SECRET})
    made = await Lab.up(spec, instance=INSTANCE, directory=directory, command=daemon_with_health)
    try:
        assert (await made.wait_connected()).complete
        yield made
        for number in made.state.nodes:
            log = made.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    finally:
        await made.down()
    assert LabNames(INSTANCE).leftovers() == []


class Diagnosis(NamedTuple):
    code: int
    report: dict[str, Any]

    def errors(self) -> list[tuple[str, str, str]]:
        """Layer, problem and cure of each."""
        return [
            (finding["layer"], finding["problem"], finding["fix"])
            for finding in self.report["findings"]
            if finding["severity"] == "error"
        ]


async def doctor(lab: Lab, *options: str, socket_file: Path | None = None) -> Diagnosis:
    """Run it on node 1."""
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", lab.names.node(1)),
        *(sys.executable, "-P", "-m", "flannel_sdk.cli", "doctor", "--json"),
        *("--status-socket", str(socket_file or lab.files(1).status_socket)),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "FLANNELD_ETCD_PASSWORD": SECRET},
    )
    printed, said = await process.communicate()
    assert said == b""
    assert process.returncode is not None
    return Diagnosis(process.returncode, json.loads(printed))


async def run(netns: str, command: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", "netns", "exec", netns, *command.split())
    assert await process.wait() == 0, command


def subnet_of(lab: Lab, number: int) -> str:
    return str(lab.node(number).pod_addresses[0].masked())


@asynccontextmanager
async def thief(netns: str, command: str) -> AsyncIterator[None]:
    """Does something over and over."""
    loop = f"while :; do {command} 2>/dev/null; sleep 0.02; done"
    process = await asyncio.create_subprocess_exec("ip", "netns", "exec", netns, "sh", "-c", loop)
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def missing_seconds(lab: Lab) -> float:
    status = await ask_daemon(lab.files(1).status_socket, "status")
    plane = (status or {}).get("dataplane")
    found = plane.get("missing_seconds") if isinstance(plane, dict) else None
    return found if isinstance(found, float) else 0.0


async def wait_fought(lab: Lab) -> None:
    """Return when the daemon has noticed that somebody keeps taking things away."""
    async with asyncio.timeout(20):
        while True:
            if await missing_seconds(lab) > 0.2:
                return
            await asyncio.sleep(0.05)


async def wait_well(lab: Lab) -> None:
    """Return when all pairs answer and the daemon misses nothing."""
    assert (await lab.wait_connected(20.0)).complete
    async with asyncio.timeout(20):
        while True:
            if not await missing_seconds(lab):
                return
            await asyncio.sleep(0.05)


async def test_all_is_well_and_each_path_is_proved(lab: Lab) -> None:
    found = await doctor(lab)
    assert found.report["findings"] == []
    assert found.code == 0
    (peer,) = found.report["peers"]
    assert peer["subnets"][0] == subnet_of(lab, 2)
    assert [path["family"] for path in peer["paths"]] == ["IPv4", "IPv6"]
    for path in peer["paths"]:
        assert path["full_mtu"] is True
        assert path["checksum_device"] == path["checksum_software"] == "closed"
        assert path["tunnel_seconds"] > 0


async def test_a_real_daemon_is_ready_and_tells_every_metric_that_is_shown(lab: Lab) -> None:
    netns = netns_path(lab.names.node(1))

    def get(path: str) -> str:
        def read() -> str:
            with urlopen(f"http://127.0.0.1:{HEALTHZ_PORT}{path}", timeout=10) as answer:
                return str(answer.read().decode())

        return run_in_netns(netns, read)

    assert await asyncio.to_thread(get, "/healthz") == "flanneld is running"
    assert await asyncio.to_thread(get, "/readyz") == "flanneld is ready"
    text = await asyncio.to_thread(get, "/metrics")
    told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    shown = {metric for _, query in expressions() for metric, _ in selectors(query)}
    assert {re.sub(r"_(bucket|count|sum)$", "", metric) for metric in shown} <= told
    assert "flannel_sdk_peers 1.0" in text
    assert 'flannel_sdk_objects{kind="route",state="wanted"} 2.0' in text


async def test_no_daemon_is_a_finding(lab: Lab, tmp_path: Path) -> None:
    found = await doctor(lab, socket_file=tmp_path / "none.sock")
    assert found.code == 1
    ((layer, problem, fix),) = found.errors()
    assert layer == "daemon"
    assert "no daemon answers" in problem.lower()
    assert "Start flannel-sdk daemon" in fix


async def test_a_route_that_is_held_away(lab: Lab) -> None:
    subnet = subnet_of(lab, 2)
    async with thief(lab.names.node(1), f"ip route del {subnet}"):
        await wait_fought(lab)
        found = await doctor(lab)
    assert found.code == 1
    assert {layer for layer, _, _ in found.errors()} <= {"kernel", "daemon"}
    problems = [(problem, fix) for layer, problem, fix in found.errors() if layer == "kernel"]
    assert any(f"route {subnet}" in problem or f"to {subnet}" in problem for problem, _ in problems)
    assert "ip monitor route" in problems[0][1]
    await wait_well(lab)


async def test_a_forwarding_entry_that_is_turned(lab: Lab) -> None:
    peers = await ask_daemon(lab.files(2).status_socket, "status")
    assert peers is not None
    lease: Any = peers["lease"]
    mac = (
        lease["backend_data"][0]["VtepMAC"]
        if isinstance(lease["backend_data"][0], dict)
        else (json.loads(lease["backend_data"][0])["VtepMAC"])
    )
    turn = f"bridge fdb replace {mac} dev flannel.1 dst 192.168.101.77 self permanent"
    async with thief(lab.names.node(1), turn):
        await wait_fought(lab)
        found = await doctor(lab)
    assert found.code == 1
    errors = [error for error in found.errors() if error[0] == "kernel"]
    assert any("fdb" in problem or mac in problem for _, problem, _ in errors), found.errors()
    assert any("bridge monitor" in fix for _, _, fix in errors)
    await wait_well(lab)


async def test_an_address_that_a_narrower_route_takes_elsewhere(lab: Lab) -> None:
    base = subnet_of(lab, 2).partition("/")[0]
    await ip_batch([f"route add {base}/32 dev eth0"], netns=lab.names.node(1))
    try:
        found = await doctor(lab)
    finally:
        await ip_batch([f"route del {base}/32 dev eth0"], netns=lab.names.node(1))
    ((layer, problem, fix),) = found.errors()
    assert layer == "kernel"
    assert "sends to it by eth0" in problem
    assert "narrower route" in fix


@pytest.mark.parametrize(
    ("node", "hook", "layer"), [(2, "input", "underlay"), (1, "output", "kernel")]
)
async def test_a_firewall_that_drops_the_tunnels_port(
    lab: Lab, node: int, hook: str, layer: str
) -> None:
    if shutil.which("nft") is None:
        pytest.skip("there is no nft command: install nftables")
    netns = lab.names.node(node)
    await run(netns, "nft add table inet thief")
    await run(netns, f"nft add chain inet thief c {{ type filter hook {hook} priority 0 ; }}")
    await run(netns, "nft add rule inet thief c udp dport 8472 drop")
    try:
        found = await doctor(lab)
    finally:
        await run(netns, "nft delete table inet thief")
    assert found.code == 1
    assert {error[0] for error in found.errors()} == {layer}
    assert len(found.errors()) == 2, "one for each family"
    if layer == "underlay":
        for _, problem, fix in found.errors():
            assert "UDP port 8472 is dropped on the way" in problem
            assert "Allow UDP port 8472" in fix
    else:
        assert all("does not send" in problem for _, problem, _ in found.errors())


async def test_a_path_that_is_too_narrow(lab: Lab) -> None:
    await ip_batch(["link set n2 mtu 1300"], netns=lab.names.router)
    try:
        found = await doctor(lab)
    finally:
        await ip_batch(["link set n2 mtu 1500"], netns=lab.names.router)
        for number in lab.state.nodes:
            await run(lab.names.node(number), "ip -6 route flush cache")
    assert found.code == 1
    assert {layer for layer, _, _ in found.errors()} == {"underlay"}
    largest = [path["largest_packet"] for path in found.report["peers"][0]["paths"]]
    assert largest[0] in range(1300 - 50, 1300 - 50 + 5), "a bridge leaves room for a VLAN tag"
    assert largest[1] in range(1300 - 70, 1300 - 70 + 5)
    _, problem, fix = found.errors()[0]
    assert f"{largest[0]} bytes is the most" in problem
    assert "Backend.MTU" in fix


async def test_a_peer_whose_daemon_is_down(lab: Lab) -> None:
    await lab.stop_daemon(2)
    try:
        found = await doctor(lab)
        ((layer, problem, fix),) = found.errors()
        assert layer == "peer"
        assert "192.168.101.2 does not answer on port 8081: nobody listens there" in problem
        assert "Start or restart flannel-sdk daemon on 192.168.101.2" in fix
        await ip_batch(["link del flannel.1", "link del flannel-v6.1"], netns=lab.names.node(2))
        found = await doctor(lab, "--peer-healthz-port", "0")
        assert {layer for layer, _, _ in found.errors()} == {"peer"}, json.dumps(found.report)
        assert "its tunnel device is not there" in found.errors()[0][1]
    finally:
        await lab.start_daemon(2)
    await wait_well(lab)


async def test_an_entry_of_the_store_that_is_tampered_with_or_removed(lab: Lab) -> None:
    await lab.stop_daemon(2)
    database = sqlite3.connect(lab.directory / "store.db", isolation_level=None)
    with closing(database):
        where = "WHERE key LIKE ?"
        key = f"{subnet_of(lab, 2).replace('/', '-')}%"
        (before,) = database.execute(f"SELECT value FROM leases {where}", [key]).fetchone()
        try:
            wrong = before.replace(b"192.168.101.2", b"127.0.0.1")
            database.execute(f"UPDATE leases SET value = ? {where}", [wrong, key])
            await wait_peers(lab, 0)
            found = await doctor(lab)
            ((layer, problem, fix),) = found.errors()
            assert layer == "store"
            assert "is not believed" in problem
            assert subnet_of(lab, 2) in problem
            assert "restart the daemon of the node that wrote it" in fix
            database.execute(f"UPDATE leases SET value = ? {where}", [before, key])
            await wait_peers(lab, 1)
            database.execute(f"DELETE FROM leases {where}", [key])
            await wait_peers(lab, 0)
            found = await doctor(lab)
            ((layer, problem, fix),) = found.errors()
            assert layer == "store"
            assert "went from the store" in problem
            assert "Start flannel-sdk daemon on 192.168.101.2" in fix
        finally:
            await lab.start_daemon(2)
    await wait_well(lab)


async def wait_peers(lab: Lab, count: int) -> None:
    async with asyncio.timeout(10):
        while True:
            status = await ask_daemon(lab.files(1).status_socket, "status")
            feed = (status or {}).get("feed")
            if isinstance(feed, dict) and feed["peers"] == count and feed["settled"]:
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def broken_offload(lab: Lab, *, inner_only: bool) -> AsyncIterator[None]:
    """The two nodes' cables end in a middlebox instead of the bridge."""
    router = lab.names.router
    await ip_batch(["link set n1 nomaster", "link set n2 nomaster"], netns=router)
    try:
        with unfinished_checksums(netns_path(router), "n1", "n2", inner_only=inner_only):
            yield
    finally:
        await ip_batch(["link set n1 master br1", "link set n2 master br1"], netns=router)


async def test_checksums_in_the_tunnel_that_nobody_completes_and_the_cure(lab: Lab) -> None:
    async with broken_offload(lab, inner_only=True):
        found = await doctor(lab, "--peer-healthz-port", "0")
        ((_, problem, fix),) = [error for error in found.errors() if error[0] == "tunnel"]
        assert "checksum offload is broken" in problem
        assert "ethtool -K flannel.1 tx-checksum-ip-generic off" in fix
        with checksums_in_software(netns_path(lab.names.node(1)), "flannel.1"):
            cured = await doctor(lab, "--peer-healthz-port", "0")
        assert not [error for error in cured.errors() if error[0] == "tunnel"]
    await wait_well(lab)


async def test_checksums_of_the_underlay_that_nobody_completes_and_the_cure(lab: Lab) -> None:
    async with broken_offload(lab, inner_only=False):
        found = await doctor(lab, "--peer-healthz-port", "0")
        assert {layer for layer, _, _ in found.errors()} == {"underlay"}
        for _, problem, fix in found.errors():
            assert "checksum offload of the underlay is broken" in problem
            assert "ethtool -K eth0 tx off" in fix
        with (
            checksums_in_software(netns_path(lab.names.node(1)), "eth0"),
            checksums_in_software(netns_path(lab.names.node(2)), "eth0"),
        ):
            assert (await doctor(lab, "--peer-healthz-port", "0")).errors() == []
    await wait_well(lab)


@contextmanager
def checksums_in_software(netns: str, device: str) -> Iterator[None]:
    """What ``ethtool -K DEVICE tx off`` does (linux/ethtool.h: ETHTOOL_STXCSUM)."""
    run_in_netns(netns, lambda: _set_checksum_offload(device, on=False))
    try:
        yield
    finally:
        run_in_netns(netns, lambda: _set_checksum_offload(device, on=True))


def _set_checksum_offload(device: str, *, on: bool) -> None:
    value = create_string_buffer(struct.pack("=II", 0x17, int(on)), 8)
    request = struct.pack("16sP", device.encode(), addressof(value)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8946, request)


async def test_the_bundle_holds_what_support_asks_for_and_no_secret(
    lab: Lab, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    found = await doctor(lab, "--bundle", str(bundle))
    assert found.code == 0
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        files = {}
        for member in archive:
            content = archive.extractfile(member)
            assert content is not None
            files[member.name.removeprefix("flannel-sdk-bundle/")] = content.read().decode()
    assert all(SECRET not in text for text in files.values())
    assert json.loads(files["report.json"])["healthy"] is True
    options = json.loads(files["inspection.json"])["config"]["backend_options"]
    assert options == {"PSK": "<redacted>"}
    assert "flannel.1" in files["kernel/ip-link.txt"]
    assert subnet_of(lab, 2) in files["kernel/ip-route.txt"]
    assert "192.168.101.2" in files["kernel/bridge-fdb.txt"]
    assert json.loads(files["versions.json"])["distributions"]["flannel-sdk"]
    assert "journalctl" in files["README.txt"]
