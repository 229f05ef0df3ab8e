"""Which link and addresses a request means (flannel 1.3): a table over one imagined host."""

from collections.abc import Sequence

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.hostnet.interface_choice import Attempt, attempts
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.hostnet.links import InterfaceAddresses, Link, LinkTable, Reach
from flannel_sdk.model import Family, IPAddress

V4, V6 = (Family.IPV4,), (Family.IPV6,)
DUAL = (*V4, *V6)
TEMPORARY, DAD_FAILED, DEPRECATED, TENTATIVE, PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80


def ip(text: str) -> IPAddress:
    return IPAddress.parse(text)


def link(index: int, name: str, *addresses: str | tuple[str, int], mtu: int = 1500) -> Link:
    entries = [(a, PERMANENT) if isinstance(a, str) else a for a in addresses]
    return Link(
        index, name, mtu, InterfaceAddresses([(ip(text), flags) for text, flags in entries])
    )


LINKS = [
    link(1, "lo", "127.0.0.1", "::1", mtu=65536),
    link(2, "eth0", "192.0.2.1", "192.0.2.2", "2001:db8::1", "fe80::1"),
    link(3, "eth1", "198.51.100.1", mtu=1400),
    link(4, "bond0", "2001:db8:1::1", "fe80::4"),
    link(5, "wlan0", ("10.0.0.9", DEPRECATED), "169.254.7.7"),
    link(6, "tun0", "203.0.113.1", "2001:db8:2::1", mtu=0),
    link(7, "odd0", "169.254.1.1", ("10.1.0.2", 0), "10.1.0.3", ("2001:db8:3::1", DAD_FAILED)),
]


def host(
    v4: int | None = 2, v6: int | None = 2, reach: tuple[int, str | None] | None = None
) -> LinkTable:
    defaults = {Family.IPV4: v4, Family.IPV6: v6}
    way = Reach(reach[0], ip(reach[1]) if reach[1] else None) if reach else None
    return LinkTable(
        {made.index: made for made in LINKS},
        {family: index for family, index in defaults.items() if index is not None},
        way,
    )


def winner(
    request: InterfaceRequest, families: Sequence[Family], table: LinkTable
) -> tuple[str, *tuple[str, ...]] | None:
    made = attempts(request, families, table)
    found = next((attempt for attempt in made if attempt.problem is None), None)
    if found is None or found.link is None:
        return None
    return found.link.name, *(str(address) for _, address in found.addresses.items_by_family())


def problems(
    request: InterfaceRequest, families: Sequence[Family], table: LinkTable
) -> list[Attempt]:
    return list(attempts(request, families, table))


Asked = InterfaceRequest
REACH = Asked(can_reach=ip("203.0.113.77"))
TABLE: list[tuple[InterfaceRequest, Sequence[Family], LinkTable, tuple[str, ...] | None]] = [
    # nothing asked for: the default route's
    (Asked(), V4, host(), ("eth0", "192.0.2.1")),
    (Asked(), V6, host(v6=4), ("bond0", "2001:db8:1::1")),
    (Asked(), DUAL, host(), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked(), DUAL, host(v4=3), None),
    (Asked(), DUAL, host(v6=None), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked(), V4, host(v4=None), None),
    (Asked(), V4, host(v4=99), None),
    # a public IP that is local names the interface, one that is not does not (D17)
    (Asked(public_ip=ip("198.51.100.1")), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(public_ip=ip("192.0.2.2")), V4, host(v4=3), ("eth0", "192.0.2.2")),
    (Asked(public_ip=ip("203.0.113.200")), V4, host(v4=3), ("eth1", "198.51.100.1")),
    (Asked(public_ipv6=ip("2001:db8:1::1")), V6, host(), ("bond0", "2001:db8:1::1")),
    # names and addresses, in order, the first that works
    (Asked("eth1"), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(("eth9", "eth1", "eth0")), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(("eth1", "eth0")), DUAL, host(), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked("192.0.2.2"), V4, host(), ("eth0", "192.0.2.2")),
    (Asked("192.0.2.2"), DUAL, host(), ("eth0", "192.0.2.2", "2001:db8::1")),
    (Asked("192.0.2.99"), V4, host(), None),
    (Asked("eth1"), V4, host(v4=None, v6=None), ("eth1", "198.51.100.1")),
    (Asked("eth1", public_ip=ip("192.0.2.1")), V4, host(), ("eth1", "198.51.100.1")),
    # D35: an IPv6 literal in dual stack, and no public IPv6
    (Asked("2001:db8::1"), DUAL, host(), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked("2001:db8::1"), V4, host(), ("eth0", "192.0.2.1")),
    # patterns: on addresses, then on names, unanchored
    (Asked(regexes="^198"), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(regexes=r"2\.2$"), V4, host(), ("eth0", "192.0.2.2")),
    (Asked(regexes="th1"), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(regexes=("nothing", "eth")), V4, host(), ("eth0", "192.0.2.1")),
    (Asked("eth1", regexes="eth0"), V4, host(), ("eth1", "198.51.100.1")),
    (Asked("eth9", regexes="eth1"), V4, host(), ("eth1", "198.51.100.1")),
    (Asked(regexes="nothing"), V4, host(), None),
    (Asked(regexes="[[:alpha:]]+1$"), V4, host(), ("eth1", "198.51.100.1")),
    # D35: in dual stack both addresses are of one link
    (Asked(regexes="1$"), DUAL, host(), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked(regexes=r"^192\.0"), DUAL, host(), ("eth0", "192.0.2.1", "2001:db8::1")),
    (Asked(regexes="^198"), DUAL, host(), None),
    # the way to an address, and what it is sent from
    (REACH, V4, host(reach=(3, "198.51.100.1")), ("eth1", "198.51.100.1")),
    (REACH, V4, host(reach=(2, "192.0.2.2")), ("eth0", "192.0.2.2")),
    (REACH, DUAL, host(reach=(2, "192.0.2.2")), ("eth0", "192.0.2.2", "2001:db8::1")),
    (REACH, V4, host(reach=(2, None)), ("eth0", "192.0.2.1")),
    (REACH, V4, host(), None),
    (
        Asked("eth9", can_reach=ip("203.0.113.77")),
        V4,
        host(reach=(3, None)),
        ("eth1", "198.51.100.1"),
    ),
    # which address: global, permanent, known to be unique; none that is deprecated or doubled
    (Asked("wlan0"), V4, host(), ("wlan0", "169.254.7.7")),
    (Asked("odd0"), V4, host(), ("odd0", "10.1.0.3")),
    (Asked("odd0"), V6, host(), None),
    (Asked("lo"), V4, host(), None),
    (Asked("tun0"), V4, host(), None),
    (Asked(("tun0", "eth1")), V4, host(), ("eth1", "198.51.100.1")),
]


@pytest.mark.parametrize(("request_", "families", "table", "wanted"), TABLE)
def test_d35_a_request_means_one_link_with_its_addresses(
    request_: InterfaceRequest,
    families: Sequence[Family],
    table: LinkTable,
    wanted: tuple[str, ...] | None,
) -> None:
    assert winner(request_, families, table) == wanted


@pytest.mark.parametrize(
    ("asked", "families", "table", "said"),
    [
        (Asked("eth9"), V4, host(), "no network interface called eth9: check --iface"),
        (Asked("192.0.2.9"), V4, host(), "no network interface with the address 192.0.2.9"),
        (Asked("eth1"), V6, host(), "eth1 has no usable IPv6 address"),
        (Asked(regexes="^x"), V4, host(), "a name that '^x' matches: check --iface-regex"),
        (REACH, V4, host(), "no route to 203.0.113.77, which --iface-can-reach names"),
        (Asked(), V4, host(v4=None), "no default route to choose the interface by"),
        (Asked(), DUAL, host(v4=3), "IPv4 and IPv6 default routes use different interfaces"),
        (Asked("tun0"), V4, host(), "tun0 says no MTU"),
    ],
)
def test_what_finds_nothing_says_why(
    asked: InterfaceRequest, families: Sequence[Family], table: LinkTable, said: str
) -> None:
    assert said in str(problems(asked, families, table)[-1].problem)


def test_addresses_are_in_flannels_order() -> None:
    made = link(
        1,
        "eth0",
        "fe80::1",
        ("2001:db8::4", PERMANENT | TENTATIVE),
        ("2001:db8::3", TEMPORARY),
        ("2001:db8::2", 0),
        "2001:db8::1",
        ("2001:db8::5", PERMANENT | DEPRECATED),
        "ff02::1",
    )
    usable = [str(address) for address in made.addresses.usable(Family.IPV6)]
    assert usable == [f"2001:db8::{n}" for n in (1, 4, 2, 3)] + ["fe80::1"]
    unusable = [(str(address), why) for address, why in made.addresses.unusable(Family.IPV6)]
    assert unusable == [("2001:db8::5", "deprecated"), ("ff02::1", "not for peers")]


@pytest.mark.parametrize(
    ("flag", "made"),
    [
        ("iface-regex", lambda: Asked(regexes=("ok", "*"))),
        ("public-ip", lambda: Asked(public_ip=ip("2001:db8::1"))),
        ("public-ipv6", lambda: Asked(public_ipv6=ip("192.0.2.1"))),
        ("public-ip", lambda: Asked(public_ip=ip("224.0.0.1"))),
    ],
)
def test_what_can_never_work_is_refused_with_the_flags_name(flag: str, made: object) -> None:
    assert callable(made)
    with pytest.raises(ConfigError, match=flag) as caught:
        made()
    assert caught.value.key == flag
