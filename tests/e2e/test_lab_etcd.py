"""A lab on a real etcd of its own: connected, and undisturbed by what happens to etcd."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from flannel_sdk.lab import Families, Lab, LabNames, LabSpec, ProbeStream, probing
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.processes import ownership_mark, processes_marked
from flannel_sdk.lab.reports import report_nodes, report_store
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.model import ByFamily, Family, Subnets, format_subnet_key
from flannel_sdk.testing.waiting import eventually
from tests.e2e.conftest import INSTANCE

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE = 15.0
SPECS = {
    "ipv4": LabSpec(store="etcd"),
    "ipv6-two-subnets": LabSpec(store="etcd", families=Families.IPV6, subnets=2),
}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's own fixture checks after the last one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SPECS)
async def etcd_lab(
    request: pytest.FixtureRequest,
    kernel_lacks: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Lab]:
    spec = SPECS[request.param]
    needs = {"veth", "bridge", "vxlan"}
    if Family.IPV6 in spec.families.members:
        needs.add("IPv6")
    for need in sorted(needs & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    directory = tmp_path_factory.mktemp("lab")
    made = await Lab.up(spec, instance=INSTANCE, directory=directory)
    try:
        yield made
        for number in made.state.nodes:
            log = made.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    finally:
        await made.down()
    assert LabNames(INSTANCE).leftovers() == []
    assert processes_marked(OWNED_VARIABLE, ownership_mark(directory)) == []
    assert not os.path.exists(directory)


async def assert_connected(lab: Lab) -> None:
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"


async def all_answered(streams: list[ProbeStream], count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        for stream in streams:
            await stream.wait_answered(count)


async def wait_peers(lab: Lab, count: int) -> None:
    """Wait until each node knows so many peers."""
    async with asyncio.timeout(PATIENCE):
        for number in lab.state.nodes:
            while True:
                status = await ask_daemon(lab.files(number).status_socket, "status")
                feed = status and status["feed"]
                if isinstance(feed, dict) and (feed["peers"], feed["settled"]) == (count, True):
                    break
                await asyncio.sleep(0.02)


async def test_every_pair_answers_and_status_names_the_server(etcd_lab: Lab) -> None:
    await assert_connected(etcd_lab)
    report = report_store(Lab.attach(instance=INSTANCE, directory=etcd_lab.directory))
    host = etcd_lab.spec.router_addresses(1)[0].address
    shown = f"[{host}]" if host.family is Family.IPV6 else str(host)
    assert (report.store, report.server) == ("etcd", "running")
    assert report.options == {"endpoints": f"http://{shown}:2379"}
    for node in await report_nodes(etcd_lab):
        assert node.state == "running"
        assert not node.lease_permanent
        assert node.lease_expires is not None, "our own lease's end is known"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_etcd_ends_and_starts_again_without_a_lost_packet(
    etcd_lab: Lab, how: signal.Signals
) -> None:
    """While it is away and after it is back; then a node joins, so all watches work again."""
    await assert_connected(etcd_lab)
    family = etcd_lab.spec.families.members[0]
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                probing(etcd_lab.pod(a), etcd_lab.pod(b), family=family, interval=0.005)
            )
            for a, b in ((1, 2), (2, 3), (3, 1))
        ]
        await all_answered(streams, 20)
        await etcd_lab.stop_server(how)
        await all_answered(streams, 200)
        assert report_store(etcd_lab).server == "dead"
        await etcd_lab.start_server()
        await all_answered(streams, 100)
        number = await etcd_lab.add_node()
        await wait_peers(etcd_lab, 3)
        await all_answered(streams, 20)
    for stream in streams:
        assert stream.report.lost == (), stream.report.to_json()
    await assert_connected(etcd_lab)
    await leave(etcd_lab, number)


async def leave(lab: Lab, number: int) -> None:
    """The node dies and its lease ends; the others forget it and lose nothing."""
    subnets: Subnets = ByFamily()
    for prefix in lab.node(number).pod_addresses:
        subnets = subnets.with_value(prefix.family, prefix.masked())
    async with probing(
        lab.pod(1), lab.pod(2), family=lab.spec.families.members[0], interval=0.005
    ) as stream:
        await lab.remove_node(number)
        await end_lease(lab, format_subnet_key(subnets))
        await wait_peers(lab, 2)
        await stream.wait_answered(20)
    assert stream.report.lost == (), stream.report.to_json()


_DELETE = """
import asyncio, sys
from flannel_sdk_etcd import EtcdOptions
from flannel_sdk_etcd.client import EtcdClient

async def main(endpoint, key):
    client = EtcdClient(EtcdOptions(endpoints=(endpoint,)))
    try:
        entry, _ = await client.get(key.encode())
        commit = await client.delete_if(key.encode(), entry.mod_revision)
        assert commit.done
    finally:
        await client.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


async def end_lease(lab: Lab, key: str) -> None:
    """As when the lease expires: the entry goes from the store."""
    child = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", lab.names.router, sys.executable, "-P", "-c", _DELETE),
        *(lab.spec.store_options["endpoints"], f"/coreos.com/network/subnets/{key}"),
    )
    assert await child.wait() == 0


async def test_a_changed_configuration_reaches_all_nodes(etcd_lab: Lab) -> None:
    document = json.loads(etcd_lab.spec.network_config())
    document["Backend"]["Port"] = 8475
    await etcd_lab.put_network_config(json.dumps(document))
    said = "the changed network configuration is applied"

    def all_say_so() -> bool:
        return all(said in etcd_lab.files(n).log_tail(1000) for n in etcd_lab.state.nodes)

    await eventually(all_say_so, said, PATIENCE)
    await assert_connected(etcd_lab)


async def test_down_finds_the_server_without_the_labs_file(
    lab_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After a crash the file may be torn; a lab of another name, beside that of the other tests."""
    directory, names = tmp_path_factory.mktemp("torn"), LabNames(f"pytestc{os.getpid()}")
    spec = LabSpec(nodes=1, store="etcd")
    lab = await Lab.up(spec, instance=names.instance, directory=directory)
    (directory / "lab.json").write_text("{")
    removed = await lab.down()
    assert removed.processes == 2
    assert names.leftovers() == []
    assert processes_marked(OWNED_VARIABLE, ownership_mark(directory)) == []
    assert not directory.exists()
