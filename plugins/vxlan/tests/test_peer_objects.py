"""Which kernel objects a vxlan peer needs, for each combination of families."""

import pytest
from flannel_sdk_vxlan.network import VxlanNetwork
from flannel_sdk_vxlan.options import VxlanOptions

from flannel_sdk.dataplane import Device, FdbEntry, Neighbour, Ownership, Route
from flannel_sdk.errors import MalformedEntry
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    Family,
    IPAddress,
    Lease,
    LeaseAttrs,
    MacAddress,
    Prefix,
)

IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
CONTEXT = BackendContext(ExternalInterface("eth0", 2, 1500, IPS, IPS), netns=None)
DEVICES = ByFamily(
    Device("flannel.1", "vxlan", 1450, None), Device("flannel-v6.1", "vxlan", 1430, None)
)
MAC4, MAC6 = MacAddress.parse("02:00:00:00:00:04"), MacAddress.parse("02:00:00:00:00:06")
DATA = ByFamily(
    '{"VNI":1,"VtepMAC":"02:00:00:00:00:04"}', '{"VNI":1,"VtepMAC":"02:00:00:00:00:06"}'
)
SUBNETS = ByFamily(Prefix.parse("10.5.2.0/24"), Prefix.parse("fd00:5:2::/64"))
PUBLIC = ByFamily(IPAddress.parse("192.0.2.2"), IPAddress.parse("2001:db8::2"))

OBJECTS4 = (
    FdbEntry("flannel.1", MAC4, IPAddress.parse("192.0.2.2")),
    Neighbour("flannel.1", IPAddress.parse("10.5.2.0"), MAC4),
    Route(Prefix.parse("10.5.2.0/24"), "flannel.1", IPAddress.parse("10.5.2.0"), onlink=True),
)
OBJECTS6 = (
    FdbEntry("flannel-v6.1", MAC6, IPAddress.parse("2001:db8::2")),
    Neighbour("flannel-v6.1", IPAddress.parse("fd00:5:2::"), MAC6),
    Route(
        Prefix.parse("fd00:5:2::/64"), "flannel-v6.1", IPAddress.parse("fd00:5:2::"), onlink=True
    ),
)
V4, V6 = Family.IPV4, Family.IPV6


def network(*families: Family) -> VxlanNetwork:
    own = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:1::/64"))
    devices: ByFamily[Device] = ByFamily()
    for family in families:
        devices = devices.with_value(family, DEVICES.get(family))
    return VxlanNetwork(CONTEXT, Lease(own, LeaseAttrs(IPS)), Ownership(), VxlanOptions(), devices)


def peer(
    subnets: ByFamily[Prefix] = SUBNETS,
    public: ByFamily[IPAddress] = PUBLIC,
    data: ByFamily[str] = DATA,
) -> Lease:
    return Lease(subnets, LeaseAttrs(public, "vxlan", data))


def test_fdb_entry_neighbour_and_route_of_each_family_ipv4_first() -> None:
    assert network(V4).peer_objects(peer()) == OBJECTS4
    assert network(V6).peer_objects(peer()) == OBJECTS6
    assert network(V4, V6).peer_objects(peer()) == OBJECTS4 + OBJECTS6


@pytest.mark.parametrize(
    "lease",
    [
        peer(subnets=SUBNETS._replace(ipv6=None)),
        peer(public=PUBLIC._replace(ipv6=None)),
        peer(data=DATA._replace(ipv6=None)),
    ],
)
def test_d11_only_the_families_that_both_have(lease: Lease) -> None:
    assert network(V4, V6).peer_objects(lease) == OBJECTS4
    assert network(V4).peer_objects(lease) == OBJECTS4
    with pytest.raises(MalformedEntry, match="address family of this node"):
        network(V6).peer_objects(lease)


def test_d11_a_node_of_one_family_takes_no_notice_of_the_other() -> None:
    broken6 = peer(data=DATA._replace(ipv6="nonsense"))
    assert network(V4).peer_objects(broken6) == OBJECTS4
    with pytest.raises(MalformedEntry):
        network(V4, V6).peer_objects(broken6)


def test_refuses_a_peer_of_another_vni() -> None:
    lease = peer(data=ByFamily('{"VNI":2,"VtepMAC":"02:00:00:00:00:04"}'))
    with pytest.raises(MalformedEntry, match="its VNI is 2, not 1"):
        network(V4).peer_objects(lease)


def test_d16_the_pod_mtu_is_the_smallest_over_the_families() -> None:
    assert network(V4).mtu == 1450
    assert network(V6).mtu == 1430
    assert network(V4, V6).mtu == 1430
