"""What a real kernel holds, read with iproute2 and put into lines as a kernel in memory's is."""

import json
from collections.abc import Iterator, Mapping

from flannel_sdk.testing.backend_kit.state import State
from flannel_sdk.testing.namespaces import Namespace

_NOT_THE_BACKENDS = {"lo", "eth0", "eth0-peer"}
_VOLATILE = {"ageing", "gc_timer", "hello_timer", "tcn_timer", "topology_change_timer"}
Row = Mapping[str, object]


def kernel_state(netns: Namespace) -> State:
    """All but what every node has: its loopback, its underlay, and what the kernel adds itself."""
    return frozenset(
        [
            *_links(_rows(netns.ip("-j -d link show"))),
            *_addresses(_rows(netns.ip("-j address show"))),
            *_routes(_rows(netns.ip("-j -d -4 route show table all"))),
            *_routes(_rows(netns.ip("-j -d -6 route show table all"))),
            *_neighbours(_rows(netns.ip("-j neigh show nud permanent"))),
            *_forwarding(_rows(netns.bridge("-j fdb show"))),
        ]
    )


def device_names(netns: Namespace) -> dict[str, object]:
    """The MAC of each device that is not every node's."""
    return {
        str(row["ifname"]): row.get("address")
        for row in _rows(netns.ip("-j link show"))
        if row["ifname"] not in _NOT_THE_BACKENDS
    }


def _rows(text: str) -> list[Row]:
    rows: list[Row] = json.loads(text or "[]")
    return [row for row in rows if row]  # iproute2 prints {} for what it leaves out


def _links(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row["ifname"] in _NOT_THE_BACKENDS:
            continue
        info = row.get("linkinfo")
        info = info if isinstance(info, Mapping) else {}
        data = info.get("info_data")
        facts = sorted(data.items()) if isinstance(data, Mapping) else []
        told = [(name, value) for name, value in facts if name not in _VOLATILE]
        flags = row.get("flags")
        up = "up" if isinstance(flags, list) and "UP" in flags else "down"
        yield (
            f"device {row['ifname']} type {info.get('info_kind')} mtu {row['mtu']} {up}"
            f" on {row.get('link')} {told}"
        )


def _addresses(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        infos = row.get("addr_info")
        if row["ifname"] in _NOT_THE_BACKENDS or not isinstance(infos, list):
            continue
        for info in infos:
            if info.get("scope") != "link" or info.get("family") != "inet6":
                yield f"address {info.get('local')}/{info.get('prefixlen')} on {row['ifname']}"


def _routes(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        kernels = row.get("protocol") == "kernel" or row.get("table") == "local"
        if kernels or row.get("type", "unicast") in {"local", "broadcast", "anycast", "multicast"}:
            continue
        flags = row.get("flags")
        onlink = " onlink" if isinstance(flags, list) and "onlink" in flags else ""
        ways = row.get("nexthops") or f"via {row.get('gateway')} on {row.get('dev')}"
        yield (
            f"route {row['dst']} {ways}{onlink} metric {row.get('metric', 0)}"
            f" protocol {row.get('protocol')} table {row.get('table', 'main')}"
        )


def _neighbours(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        yield f"neighbour {row['dst']} at {row.get('lladdr')} on {row['dev']}"


def _forwarding(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        if row.get("dst") is not None and row.get("state") == "permanent":
            yield f"forwarding of {row['mac']} to {row['dst']} on {row.get('ifname')}"
