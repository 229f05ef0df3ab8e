"""A node's underlay address or interface changes while its daemon runs: the peers follow."""

import asyncio
import time
from pathlib import Path

import pytest

from flannel_sdk.lab import Lab
from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.processes import ProcessId
from flannel_sdk.lab.status_client import ask_daemon

PATIENCE = 20.0

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize(
        "lab",
        ["vxlan-dual", "host-gw-dual", "udp-kernel", "udp-userspace"],
        indirect=True,
        scope="module",
    ),
]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: the lab's fixture checks after the last."""


def elsewhere(lab: Lab, by: int) -> list[str]:
    """The addresses of node 1, each some further up its subnet."""
    return [
        f"{type(a.address).from_int(a.address.to_int() + by, a.family)}/{a.length}"
        for a in lab.spec.underlay_addresses(1)
    ]


def routes(lab: Lab) -> list[str]:
    """The node's default routes, which go with the last address of their family."""
    return [f"route replace default via {way.address}" for way in lab.spec.router_addresses(1)]


async def published(lab: Lab) -> list[str]:
    status = await ask_daemon(lab.files(1).status_socket, "status")
    assert status is not None
    lease = status["lease"]
    assert isinstance(lease, dict)
    return [str(address) for address in lease["public_ips"]]


async def until_published(lab: Lab, addresses: list[str]) -> None:
    wanted = [address.partition("/")[0] for address in addresses]
    deadline = time.monotonic() + PATIENCE
    while (seen := await published(lab)) != wanted:
        assert time.monotonic() < deadline, f"{seen} is not {wanted}"
        await asyncio.sleep(0.05)


def daemon(lab: Lab) -> ProcessId | None:
    return lab.node(1).process


def subnet_file(lab: Lab) -> str:
    return Path(lab.files(1).subnet_file).read_text()


@pytest.mark.parametrize("by", [100, 0], ids=["to another address", "and back"])
async def test_another_address(lab: Lab, by: int) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    process, subnets = daemon(lab), subnet_file(lab)
    addresses = elsewhere(lab, by)
    await ip_batch(
        [
            "address flush dev eth0 scope global",
            *(f"address add {address} dev eth0" for address in addresses),
            *routes(lab),
        ],
        netns=lab.names.node(1),
    )
    await until_published(lab, addresses)
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
    assert subnet_file(lab) == subnets, "the same lease"
    assert daemon(lab) == process
    assert process is not None
    assert process.alive


async def test_a_replaced_interface_of_the_same_name(lab: Lab) -> None:
    """As when a card is changed: another index and MAC, all that rode on it is gone."""
    assert (await lab.wait_connected(PATIENCE)).complete
    process, subnets = daemon(lab), subnet_file(lab)
    node = lab.names.node(1)
    await ip_batch(["link delete eth0"], netns=node)
    await ip_batch(
        [
            f"link add replaced type veth peer name eth0 netns {node}",
            "link set replaced master br1 up",
        ],
        netns=lab.names.router,
    )
    addresses = elsewhere(lab, 50)
    await ip_batch(
        [
            *(f"address add {address} dev eth0" for address in addresses),
            "link set eth0 up",
            *routes(lab),
        ],
        netns=node,
    )
    await until_published(lab, addresses)
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
    assert subnet_file(lab) == subnets
    assert daemon(lab) == process


async def test_another_mtu_reaches_subnet_env(lab: Lab) -> None:
    assert (await lab.wait_connected(PATIENCE)).complete
    before = int(subnet_file(lab).partition("FLANNEL_MTU=")[2].split()[0])
    await ip_batch(["link set eth0 mtu 1400"], netns=lab.names.node(1))
    deadline = time.monotonic() + PATIENCE
    while f"FLANNEL_MTU={before - 100}" not in subnet_file(lab):
        assert time.monotonic() < deadline, subnet_file(lab)
        await asyncio.sleep(0.05)
    matrix = await lab.wait_connected(PATIENCE)
    assert matrix.complete, f"silent: {matrix.silent}"
