"""Builds the underlay, the nodes and the pods: namespaces, links, addresses, forwarding."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.names import POD_BRIDGE, UNDERLAY_LINK, LabNames, netns_path
from flannel_sdk.lab.spec import LabSpec
from flannel_sdk.model import Family, IPAddress, Prefix
from flannel_sdk.netns import run_in_netns
from flannel_sdk.task_groups import single_error

_POD_LINK = "veth-pod"
_BRIDGE_OPTIONS = "forward_delay 0 mcast_snooping 0"


async def make_underlay(names: LabNames, spec: LabSpec) -> None:
    """The router's namespace with one bridge for each underlay subnet."""
    await ip_batch([f"netns add {names.router}"])
    run_in_netns(netns_path(names.router), _forward_packets)
    commands = ["link set lo up"]
    for subnet in range(1, spec.subnets + 1):
        # Without a MAC of its own it would have that of a node, another one as nodes come and go.
        mac = f"02:00:00:00:00:{subnet:02x}"
        commands.append(f"link add br{subnet} address {mac} type bridge {_BRIDGE_OPTIONS}")
        commands += _addresses(f"br{subnet}", spec.router_addresses(subnet))
        commands.append(f"link set br{subnet} up")
    await ip_batch(commands, netns=names.router)


async def make_nodes(names: LabNames, spec: LabSpec, nodes: Sequence[int]) -> None:
    """The nodes' namespaces, wired to the underlay, and those of their pods, still unwired."""
    await ip_batch([f"netns add {name}" for n in nodes for name in (names.node(n), names.pod(n))])
    for number in nodes:
        run_in_netns(netns_path(names.node(number)), _forward_packets)
        run_in_netns(netns_path(names.pod(number)), _settle_addresses)
    await ip_batch([line for n in nodes for line in _cable(names, spec, n)], netns=names.router)
    with single_error():
        async with asyncio.TaskGroup() as group:
            for number in nodes:
                group.create_task(ip_batch(_node_network(spec, number), netns=names.node(number)))


async def attach_pod(
    names: LabNames, number: int, gateways: Sequence[Prefix], mtu: int
) -> list[Prefix]:
    """Wire the pod of a node through a bridge that holds ``gateways``; the pod's addresses.

    ``mtu`` in bytes, for bridge and pod alike. A bridge of an earlier call is replaced.
    """
    pods = [
        Prefix(IPAddress.from_int(g.address.to_int() + 1, g.family), g.length) for g in gateways
    ]
    node, pod = names.node(number), names.pod(number)
    peer = f"{UNDERLAY_LINK} mtu {mtu} netns {pod}"
    await ip_batch([f"link del {_POD_LINK}", f"link del {POD_BRIDGE}"], netns=node, keep_going=True)
    await ip_batch(
        [
            f"link add {POD_BRIDGE} mtu {mtu} type bridge {_BRIDGE_OPTIONS}",
            *_addresses(POD_BRIDGE, gateways),
            f"link set {POD_BRIDGE} up",
            f"link add {_POD_LINK} mtu {mtu} type veth peer name {peer}",
            f"link set {_POD_LINK} master {POD_BRIDGE} up",
        ],
        netns=node,
    )
    await ip_batch(
        [
            "link set lo up",
            *_addresses(UNDERLAY_LINK, pods),
            f"link set {UNDERLAY_LINK} up",
            *_default_routes(gateways),
        ],
        netns=pod,
    )
    return pods


async def remove_namespaces(namespaces: Iterable[str]) -> None:
    """Delete namespaces, with all that is in them; those that are gone are passed over."""
    await ip_batch([f"netns del {name}" for name in namespaces], keep_going=True)


def _cable(names: LabNames, spec: LabSpec, number: int) -> list[str]:
    """Run in the router: a cable from the bridge of the node's subnet into the node."""
    bridge = f"br{spec.underlay_subnet(number)}"
    return [
        f"link add n{number} type veth peer name {UNDERLAY_LINK} netns {names.node(number)}",
        f"link set n{number} master {bridge} up",
    ]


def _node_network(spec: LabSpec, number: int) -> list[str]:
    return [
        "link set lo up",
        *_addresses(UNDERLAY_LINK, spec.underlay_addresses(number)),
        f"link set {UNDERLAY_LINK} up",
        *_default_routes(spec.router_addresses(spec.underlay_subnet(number))),
    ]


def _addresses(device: str, addresses: Iterable[Prefix]) -> list[str]:
    return [
        f"address add {address} dev {device}"
        + (" nodad" if address.family is Family.IPV6 else " broadcast +")
        for address in addresses
    ]


def _default_routes(gateways: Iterable[Prefix]) -> list[str]:
    anywhere = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
    return [f"route add {anywhere[g.family]} via {g.address}" for g in gateways]


def _forward_packets() -> None:
    _write_sysctl("net/ipv4/ip_forward", "1")
    _write_sysctl("net/ipv6/conf/all/forwarding", "1")
    _settle_addresses()


def _settle_addresses() -> None:
    """No duplicate address detection: an IPv6 address is usable as soon as it is there."""
    for which in ("all", "default"):
        _write_sysctl(f"net/ipv6/conf/{which}/accept_dad", "0")


def _write_sysctl(key: str, value: str) -> None:
    """Set it in the calling thread's namespace; a kernel without IPv6 has no such files."""
    path = Path("/proc/sys", key)
    if path.exists():
        path.write_text(value)
