"""udp with real daemons, on either data path: ends, starts, repair, and a path changed live."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from flannel_sdk.lab import Lab, LabError, LabNames, LabSpec, probing
from flannel_sdk.lab.faults import find_fault
from flannel_sdk.lab.status_client import ask_daemon
from tests.e2e.conftest import INSTANCE

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
PATIENCE = 10.0


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's fixture checks after the last."""


def udp(datapath: str) -> LabSpec:
    return LabSpec(backend="udp", backend_options={"Datapath": datapath})


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["userspace", "kernel"])
async def lab(
    request: pytest.FixtureRequest, lab_rights: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    """A lab that is up; skipped where eBPF, or TUN, is not to be had, with the daemon's reason."""
    try:
        made = await Lab.up(
            udp(request.param), instance=INSTANCE, directory=tmp_path_factory.mktemp("lab")
        )
    except LabError as error:
        if "eBPF" in str(error) or "/dev/net/tun" in str(error):
            pytest.skip(str(error))
        raise
    try:
        yield made
        for number in made.state.nodes:
            log = made.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    finally:
        await made.down()
    assert LabNames(INSTANCE).leftovers() == []


def path_of(lab: Lab) -> object:
    return lab.spec.backend_options["Datapath"]


async def carries(lab: Lab, number: int) -> dict[str, object]:
    """What a node's daemon says of its data path."""
    answer = await ask_daemon(lab.files(number).status_socket, "status")
    assert isinstance(answer, dict)
    plane = answer["dataplane"]
    assert isinstance(plane, dict)
    found: dict[str, object] = plane["datapath"]
    return found


async def test_full_packets_pass_between_all_pods_on_the_path_asked_for(lab: Lab) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    assert lab.node(1).mtu == 1472
    matrix = await lab.ping(packet_bytes=1472)
    assert matrix.complete, f"silent: {matrix.silent}"
    too_long = await lab.ping(packet_bytes=1473, timeout=0.05)
    assert {result.refusal for result in too_long.results} == {"Message too long"}
    for number in lab.state.nodes:
        found = await carries(lab, number)
        assert found["path"] == path_of(lab)
        counters = found["counters"]
        assert isinstance(counters, dict)
        assert counters[path_of(lab)]["sent_packets"] > 0
        assert counters[path_of(lab)]["received_packets"] > 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_daemon_ends_and_starts_again_under_traffic(lab: Lab, how: signal.Signals) -> None:
    """In the kernel without a lost packet; in userspace as soon as there is a process again."""
    assert (await lab.wait_connected(PATIENCE)).complete
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                probing(lab.pod(source), lab.pod(destination), interval=0.005)
            )
            for source, destination in ((1, 2), (2, 1))
        ]
        await asyncio.gather(*(stream.wait_answered(20) for stream in streams))
        code, seconds = await lab.stop_daemon(1, how)
        if how is signal.SIGTERM:
            assert (code, seconds <= 2.0) == (0, True), f"code {code} after {seconds:.2f} s"
        if path_of(lab) == "kernel":
            await asyncio.gather(*(stream.wait_answered(20) for stream in streams))
        await lab.start_daemon(1)
        await asyncio.gather(*(stream.wait_answered(50) for stream in streams))
    for stream in streams:
        if path_of(lab) == "kernel":
            assert stream.report.lost == (), stream.report.to_json()
        else:
            assert stream.report.answered >= 70, stream.report.to_json()
    assert (await lab.wait_connected(PATIENCE)).complete


async def test_a_deleted_device_comes_back(lab: Lab) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    fault = await find_fault(lab.spec, lab.names.node(1))
    assert fault is not None
    assert fault.subject == "device flannel0"
    await fault.strike()
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"


async def test_the_path_is_changed_live_and_back(lab: Lab) -> None:
    """As every change of the configuration is: traffic goes on."""
    here = str(path_of(lab))
    there = "kernel" if here == "userspace" else "userspace"
    async with probing(lab.pod(1), lab.pod(2), interval=0.01) as stream:
        for path in (there, here):
            await lab.put_network_config(json.dumps(_with_path(lab, path)))
            async with asyncio.timeout(PATIENCE):
                for number in lab.state.nodes:
                    await _until_carried_by(lab, number, path)
            await stream.wait_answered(20)
    assert (await lab.wait_connected(PATIENCE)).complete


async def _until_carried_by(lab: Lab, number: int, path: str) -> None:
    while True:
        if (await carries(lab, number)).get("path") == path:
            return
        await asyncio.sleep(0.02)


def _with_path(lab: Lab, path: str) -> object:
    document = json.loads(lab.spec.network_config())
    document["Backend"]["Datapath"] = path
    return document
