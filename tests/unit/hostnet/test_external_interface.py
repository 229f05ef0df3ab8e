"""The choice of the underlay interface, in a real namespace."""

import pytest

from flannel_sdk.errors import ConfigError, InterfaceUnavailable, PermanentError
from flannel_sdk.hostnet.external_interface import find_external_interface
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.model import ByFamily, Family, IPAddress
from flannel_sdk.netns import run_in_netns
from flannel_sdk.testing.namespaces import Namespace

pytestmark = pytest.mark.root
V4, V6 = [Family.IPV4], [Family.IPV6]
DUAL = [Family.IPV4, Family.IPV6]


def ip(text: str) -> IPAddress:
    return IPAddress.parse(text)


@pytest.fixture
def host(netns: Namespace) -> Namespace:
    netns.add_veth("eth0", "192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64")
    netns.add_veth("eth1", "198.51.100.1/24")
    netns.ip("link set eth1 mtu 1400")
    return netns


def test_a_name_gives_its_first_address_of_each_family(host: Namespace) -> None:
    found = find_external_interface(InterfaceRequest("eth0"), DUAL, host.path)
    assert (found.name, found.mtu) == ("eth0", 1500)
    assert found.addresses == ByFamily(ip("192.0.2.1"), ip("2001:db8::1"))
    assert found.public_ips == found.addresses
    assert f"{found.index}: eth0" in host.ip("link show eth0")


def test_an_address_gives_its_interface_and_is_the_one_told(host: Namespace) -> None:
    found = find_external_interface(InterfaceRequest("192.0.2.2"), V4, host.path)
    assert found.name == "eth0"
    assert found.addresses.ipv4 == ip("192.0.2.2")


def test_without_a_wish_the_default_route_decides(host: Namespace) -> None:
    with pytest.raises(InterfaceUnavailable, match="no default route"):
        find_external_interface(InterfaceRequest(), V4, host.path)
    host.ip("route add default via 198.51.100.254")
    found = find_external_interface(InterfaceRequest(), V4, host.path)
    assert (found.name, found.mtu) == ("eth1", 1400)
    host.ip("-6 route add default via 2001:db8::ff")
    with pytest.raises(InterfaceUnavailable, match="different interfaces"):
        find_external_interface(InterfaceRequest(), DUAL, host.path)


def test_d17_a_public_ip_behind_nat_is_told_and_need_not_be_local(host: Namespace) -> None:
    host.ip("route add default via 198.51.100.254")
    request = InterfaceRequest(public_ip=ip("203.0.113.9"))
    found = find_external_interface(request, V4, host.path)
    assert found.name == "eth1"
    assert found.addresses.ipv4 == ip("198.51.100.1")
    assert found.public_ips.ipv4 == ip("203.0.113.9")


def test_a_local_public_ip_chooses_the_interface(host: Namespace) -> None:
    host.ip("route add default via 198.51.100.254")
    request = InterfaceRequest(public_ip=ip("192.0.2.2"))
    found = find_external_interface(request, V4, host.path)
    assert (found.name, found.addresses.ipv4) == ("eth0", ip("192.0.2.2"))


def test_global_goes_before_link_local_and_deprecated_is_not_used(host: Namespace) -> None:
    host.ip("address flush dev eth0 scope global")
    found = find_external_interface(InterfaceRequest("eth0"), V6, host.path)
    assert found.addresses.ipv6 is not None
    assert str(found.addresses.ipv6).startswith("fe80::")
    host.ip("address add 2001:db8::5/64 dev eth0 nodad preferred_lft 0")
    host.ip("address add 2001:db8::6/64 dev eth0 nodad")
    found = find_external_interface(InterfaceRequest("eth0"), V6, host.path)
    assert found.addresses.ipv6 == ip("2001:db8::6")


@pytest.mark.parametrize(
    ("interface", "families", "sentence"),
    [
        ("eth9", V4, "no network interface called eth9"),
        ("203.0.113.9", V4, "no network interface with the address 203.0.113.9"),
        ("eth1", DUAL, "eth1 has no usable IPv6 address"),
        ("2001:db8::1", [Family.IPV4], None),
    ],
    ids=["name", "address", "family", "d35"],
)
def test_what_does_not_fit_is_one_sentence(
    host: Namespace, interface: str, families: list[Family], sentence: str | None
) -> None:
    if sentence is None:  # an address of the other family still names the interface
        found = find_external_interface(InterfaceRequest(interface), families, host.path)
        assert found.addresses.ipv4 == ip("192.0.2.1")
        return
    host.ip("address flush dev eth1 scope link")
    with pytest.raises(InterfaceUnavailable, match=sentence):
        find_external_interface(InterfaceRequest(interface), families, host.path)


def test_a_public_ip_of_the_other_family_is_a_config_error(host: Namespace) -> None:
    with pytest.raises(ConfigError, match="not an IPv4 address") as caught:
        InterfaceRequest("eth0", public_ip=ip("2001:db8::1"))
    assert caught.value.key == "public-ip"


def test_a_namespace_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(PermanentError, match="no network namespace at /run/netns/flt-none"):
        run_in_netns("/run/netns/flt-none", lambda: None)


@pytest.mark.parametrize("text", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_a_public_ip_that_every_peer_would_refuse_is_refused_here(
    host: Namespace, text: str
) -> None:
    with pytest.raises(ConfigError, match=f"public-ip is {text}, which is no unicast address"):
        InterfaceRequest("eth0", public_ip=ip(text))
