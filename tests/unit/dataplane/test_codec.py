"""What is encoded reads back as it was, and no garbage makes a parser fail or loop."""

from struct import unpack_from

from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.dataplane import Device
from flannel_sdk.dataplane.netlink.address import encode_addresses, parse_address
from flannel_sdk.dataplane.netlink.encode import encode
from flannel_sdk.dataplane.netlink.link import parse_link, vxlan_creation
from flannel_sdk.dataplane.netlink.neighbour import parse_neighbour
from flannel_sdk.dataplane.netlink.route import parse_route
from flannel_sdk.dataplane.observed import FdbNotice, NeighbourNotice
from flannel_sdk.dataplane.requests import (
    AddressOperation,
    FdbOperation,
    NeighbourOperation,
    RouteOperation,
    StrayRoute,
    StrayRouteOperation,
    Via,
)
from flannel_sdk.model import MacAddress
from flannel_sdk.netlink.messages import attribute, attributes, parse_answer

addresses = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
macs = st.binary(min_size=6, max_size=6)
indexes = st.integers(1, 2**31 - 1)
ids = st.integers(1, 2**32 - 1)
metrics = st.integers(1, 65536)


def header(message: bytes) -> tuple[int, int, int, int]:
    length, kind, flags, sequence = unpack_from("=IHHI", message)
    assert length == len(message)
    assert length % 4 == 0
    return length, kind, flags, sequence


@given(indexes, st.lists(st.tuples(addresses, macs), min_size=1))
def test_neighbours(index: int, rows: list[tuple[bytes, bytes]]) -> None:
    messages = encode([NeighbourOperation("put", index, rows)], 7)
    for number, (message, (address, mac)) in enumerate(zip(messages, rows, strict=True), 7):
        assert header(message)[3] == number
        notice = parse_neighbour(message, 0, len(message), present=True)
        assert notice == NeighbourNotice(index, address, mac, True, True)


@given(indexes, st.lists(st.tuples(macs, addresses), min_size=1))
def test_forwarding_entries(index: int, rows: list[tuple[bytes, bytes]]) -> None:
    for message, (mac, address) in zip(
        encode([FdbOperation("put", index, rows)], 1), rows, strict=True
    ):
        header(message)
        notice = parse_neighbour(message, 0, len(message), present=True)
        assert notice == FdbNotice(index, mac, address, True, True)


@given(addresses, st.data())
def test_routes(address: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(address) * 8))
    gateways = st.none() | st.binary(min_size=len(address), max_size=len(address))
    via = data.draw(st.builds(Via, indexes, gateways, st.booleans()))
    if via.gateway is None:
        via = via._replace(onlink=False)
    metric = 0 if via.gateway is None or len(address) == 16 else data.draw(metrics)
    for message in encode([RouteOperation("put", [((address, length, metric), via)])], 1):
        header(message)
        notice = parse_route(message, 0, len(message), present=True)
        assert notice is not None
        assert notice.key == (address, length)
        assert notice.route.metric == metric
        assert notice.target == via


def test_a_route_of_another_metric_than_we_would_write_is_not_taken_for_ours() -> None:
    four, via = bytes([10, 0, 1, 0]), Via(3, bytes([10, 0, 1, 0]), True)
    for slot, way in (((four, 24, 0), via), ((four, 24, 7), Via(3, None))):
        (message,) = encode([RouteOperation("put", [(slot, way)])], 1)
        notice = parse_route(message, 0, len(message), present=True)
        assert notice is not None
        assert notice.target is None
        assert notice.route.metric == slot[2]


@given(addresses, st.integers(0, 255), st.integers(0, 2**32 - 1), ids, st.booleans())
def test_removals_of_strays(
    address: bytes, protocol: int, metric: int, number: int, on_nexthop: bool
) -> None:
    stray = StrayRoute(
        address, 8, protocol, metric, nexthop_id=number if on_nexthop else 0,
        ifindex=0 if on_nexthop else 5,
    )  # fmt: skip
    (message,) = encode([StrayRouteOperation([((address, 8), stray)])], 1)
    header(message)
    notice = parse_route(message, 0, len(message), present=False)
    assert notice is not None
    assert notice.route._replace(metric=metric) == stray
    assert notice.route.metric in (metric, 0)


@given(indexes, addresses)
def test_addresses(index: int, address: bytes) -> None:
    for message in encode_addresses(AddressOperation("put", index, [(address, 24)]), 1):
        header(message)
        notice = parse_address(message, 0, len(message), present=True)
        assert notice == (index, address, 24, True)


def test_a_vxlan_device() -> None:
    attributes_wanted = {
        "vxlan_id": 4096, "vxlan_port": 8472, "vxlan_local": "192.0.2.1", "vxlan_learning": 0,
        "vxlan_gbp": True, "vxlan_ttl": 0,
    }  # fmt: skip
    mac = MacAddress.parse("02:00:00:00:00:01")
    device = Device("flannel.4096", "vxlan", 1450, mac, "eth0", tuple(attributes_wanted.items()))
    message = vxlan_creation(device, 3, 1)
    header(message)
    link = parse_link(message, 0, len(message))
    assert (link.name, link.kind, link.mtu, link.mac) == ("flannel.4096", "vxlan", 1450, mac)
    assert (link.lower, link.up) == (3, False)
    assert link.attributes == {**attributes_wanted, "vxlan_link": 3}


@given(st.dictionaries(st.integers(0, 100), st.binary(max_size=40)))
def test_attributes(values: dict[int, bytes]) -> None:
    encoded = b"".join(attribute(kind, payload) for kind, payload in values.items())
    assert attributes(encoded, 0, len(encoded)) == values


@given(st.binary(min_size=64, max_size=300))
def test_garbage(body: bytes) -> None:
    attributes(body, 0, len(body))
    parse_neighbour(body, 0, len(body), present=True)
    parse_route(body, 0, len(body), present=True)
    parse_answer(body, 0, len(body), 0x300, 1)
