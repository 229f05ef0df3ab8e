"""The choice of the underlay interface, in a real namespace."""

import json
import sys

import pytest

from flannel_sdk.errors import ConfigError, InterfaceUnavailable, PermanentError
from flannel_sdk.hostnet.external_interface import find_external_interface
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.model import ByFamily, ExternalInterface, Family, IPAddress
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


def test_the_kernels_route_to_an_address_chooses_interface_and_source(host: Namespace) -> None:
    reach = InterfaceRequest(can_reach=ip("203.0.113.9"))
    with pytest.raises(InterfaceUnavailable, match=r"no route to 203\.0\.113\.9"):
        find_external_interface(reach, V4, host.path)
    host.ip("route add 203.0.113.0/24 via 192.0.2.254 src 192.0.2.2")
    found = find_external_interface(reach, DUAL, host.path)
    assert found.name == "eth0"
    assert found.addresses == ByFamily(ip("192.0.2.2"), ip("2001:db8::1"))
    host.ip("route add unreachable 203.0.113.9")
    with pytest.raises(InterfaceUnavailable, match=r"no route to 203\.0\.113\.9"):
        find_external_interface(reach, V4, host.path)


def test_of_several_default_routes_the_best_counts_also_with_several_ways(host: Namespace) -> None:
    host.ip("route add default via 198.51.100.254 metric 200")
    host.ip("route add default via 192.0.2.254 metric 100")
    assert find_external_interface(InterfaceRequest(), V4, host.path).name == "eth0"
    host.ip("route add default metric 50 nexthop via 198.51.100.253 nexthop via 192.0.2.253")
    assert find_external_interface(InterfaceRequest(), V4, host.path).name == "eth1"


def test_the_interface_in_use_stays_with_its_address_while_it_fits(host: Namespace) -> None:
    request = InterfaceRequest(("eth9", "eth0", "eth1"))
    current = find_external_interface(request, V4, host.path)
    assert (current.name, current.addresses.ipv4) == ("eth0", ip("192.0.2.1"))

    def now() -> ExternalInterface:
        return find_external_interface(request, V4, host.path, current)

    host.add_veth("eth9", "203.0.113.1/24")
    assert now() == current, "though another comes first now"
    # Without the first address of a subnet the kernel drops the others, which come back first.
    replaced = [f"address {way} dev eth0" for way in ("delete 192.0.2.1/24", "add 192.0.2.2/24")]
    host.ip_batch([*replaced, "address add 192.0.2.1/24 dev eth0"])
    assert now() == current, "though another address is the first now"
    host.ip("address delete 192.0.2.1/24 dev eth0")
    assert now().addresses.ipv4 == ip("192.0.2.2")
    host.ip("link delete eth0")
    assert now().name == "eth9"


def test_explain_shows_every_interface_and_why(host: Namespace) -> None:
    host.ip("address add 192.0.2.3/24 dev eth0 preferred_lft 0")
    program = f"{sys.executable} -m flannel_sdk.cli explain iface"
    told = json.loads(
        host.exec(f"{program} -iface eth9 -iface-regex ^192 -iface-regex eth1 --json")
    )
    assert told["chosen"] == {
        "interface": "eth0",
        "mtu": 1500,
        "by": "--iface-regex ^192",
        "addresses": ["192.0.2.1"],
        "public_ips": ["192.0.2.1"],
    }
    verdicts = {each["name"]: each["verdict"] for each in told["interfaces"]}
    assert verdicts["eth0"] == "chosen: --iface-regex ^192"
    assert verdicts["eth1"] == "fits --iface-regex eth1, but --iface-regex ^192 comes before it"
    assert "is not called eth9" in verdicts["lo"]
    assert "there is no network interface called eth9" in told["attempts"][0]["problem"]
    addresses = next(each["addresses"] for each in told["interfaces"] if each["name"] == "eth0")
    assert addresses == ["192.0.2.1", "192.0.2.2", "192.0.2.3 (deprecated)"]
    text = host.exec(f"{program} --families dual --public-ip 203.0.113.9 --iface eth0")
    assert "peers are told 203.0.113.9, 2001:db8::1" in text
    with pytest.raises(AssertionError, match="no interface: there is no network interface called"):
        host.exec(f"{program} --iface eth9")
