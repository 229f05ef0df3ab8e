"""The network's configuration changes in the store, and all nodes of a cluster follow, live."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TypedDict, cast

import pytest
import pytest_asyncio

from flannel_sdk.lab import Lab, LabNames, LabSpec, probing
from flannel_sdk.lab.iproute import ip_output
from flannel_sdk.lab.status_client import ask_daemon
from flannel_sdk.lab.store import put_network_config
from tests.e2e.conftest import INSTANCE

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's own fixture checks after the last one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vxlan_lab(
    kernel_lacks: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Lab]:
    """Three nodes; nodes 1 and 3 share an underlay subnet."""
    for need in sorted({"veth", "bridge", "vxlan"} & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    directory = tmp_path_factory.mktemp("lab")
    made = await Lab.up(LabSpec(subnets=2), instance=INSTANCE, directory=directory)
    try:
        yield made
        for number in made.state.nodes:
            log = made.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    finally:
        await made.down()
    assert LabNames(INSTANCE).leftovers() == []
    assert not os.path.exists(directory)


class _LinkInfo(TypedDict):
    info_data: dict[str, object]


class _Link(TypedDict):
    ifname: str
    linkinfo: _LinkInfo


async def vxlan_devices(lab: Lab, number: int) -> dict[str, dict[str, object]]:
    """The node's vxlan devices with their attributes."""
    output = await ip_output(
        ["-json", "-details", "link", "show", "type", "vxlan"], netns=lab.names.node(number)
    )
    links = cast("list[_Link]", [link for link in json.loads(output) if link])
    return {link["ifname"]: link["linkinfo"]["info_data"] for link in links}


async def change(lab: Lab, **options: object) -> None:
    """Put the lab's configuration with other options of the backend."""
    await put_network_config(replace(lab.spec, backend_options=options), lab.directory)


async def become(lab: Lab, name: str, **attributes: object) -> None:
    """Wait until every node has exactly the vxlan device ``name`` with these attributes."""
    async with asyncio.timeout(PATIENCE):
        for number in lab.state.nodes:
            while True:
                devices = await vxlan_devices(lab, number)
                if list(devices) == [name] and attributes.items() <= devices[name].items():
                    break
                await asyncio.sleep(0.02)


async def assert_all_answer(lab: Lab) -> None:
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
    for number in lab.state.nodes:
        status = await ask_daemon(lab.files(number).status_socket, "status")
        assert status is not None
        assert status["config"] == {"restart_needed": None, "refused": None}
        assert status["restarts"] == 0


async def test_another_port(vxlan_lab: Lab) -> None:
    await assert_all_answer(vxlan_lab)
    await change(vxlan_lab, Port=8473)
    await become(vxlan_lab, "flannel.1", port=8473)
    await assert_all_answer(vxlan_lab)


async def test_another_vni_and_the_old_device_goes(vxlan_lab: Lab) -> None:
    await change(vxlan_lab, VNI=7)
    await become(vxlan_lab, "flannel.7", id=7)
    await assert_all_answer(vxlan_lab)


async def test_back_to_the_usual_ones(vxlan_lab: Lab) -> None:
    await change(vxlan_lab)
    await become(vxlan_lab, "flannel.1", id=1, port=8472)
    await assert_all_answer(vxlan_lab)


async def test_direct_routing_on_and_off_without_a_packet_lost_in_the_tunnel(
    vxlan_lab: Lab,
) -> None:
    """Node 2 is on another subnet: the objects for it stay as they are."""
    async with probing(vxlan_lab.pod(1), vxlan_lab.pod(2), interval=0.005) as stream:
        await stream.wait_answered(20)
        await _switch_direct_routing(vxlan_lab)
        await stream.wait_answered(20)
    assert stream.report.lost == (), stream.report.to_json()


async def _switch_direct_routing(vxlan_lab: Lab) -> None:
    (neighbour,) = vxlan_lab.pod(3).addresses
    for direct, device in ((True, "eth0"), (False, "flannel.1")):
        await change(vxlan_lab, DirectRouting=direct)
        async with asyncio.timeout(PATIENCE):
            while True:
                output = await ip_output(
                    ["-json", "route", "get", str(neighbour)], netns=vxlan_lab.names.node(1)
                )
                if json.loads(output)[0]["dev"] == device:
                    break
                await asyncio.sleep(0.02)
        await assert_all_answer(vxlan_lab)


async def test_what_cannot_be_used_is_said_and_traffic_goes_on(vxlan_lab: Lab) -> None:
    try:
        await change(vxlan_lab, VNI="seven")
        async with asyncio.timeout(PATIENCE):
            for number in vxlan_lab.state.nodes:
                while True:
                    status = await ask_daemon(vxlan_lab.files(number).status_socket, "status")
                    config = status and status["config"]
                    if isinstance(config, dict) and config["refused"]:
                        assert "Backend.VNI" in config["refused"]
                        break
                    await asyncio.sleep(0.02)
        matrix = await vxlan_lab.wait_connected(PATIENCE)
        assert matrix.complete
    finally:
        await change(vxlan_lab)
    async with asyncio.timeout(PATIENCE):
        while True:
            matrix = await vxlan_lab.wait_connected(PATIENCE)
            status = await ask_daemon(vxlan_lab.files(1).status_socket, "status")
            config = status and status["config"]
            if isinstance(config, dict) and config["refused"] is None:
                break
            await asyncio.sleep(0.02)
    assert matrix.complete
