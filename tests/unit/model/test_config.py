"""NetworkConfig.parse: flannel's defaults, arithmetic and every refusal of chapter 2."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Family, NetworkConfig, Prefix, SubnetPool
from tests.unit.model.strategies import FAMILIES, addresses


def parse(**members: object) -> NetworkConfig:
    return NetworkConfig.parse(json.dumps(members))


def ipv4_pool(**members: object) -> SubnetPool:
    pool = parse(**members).pools.ipv4
    assert pool is not None
    return pool


def bounds(pool: SubnetPool | None) -> tuple[int, str, str]:
    assert pool is not None
    return pool.subnet_length, str(pool.first), str(pool.last)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("10.3.0.0/16", (24, "10.3.1.0", "10.3.255.0")),
        ("10.3.4.5/16", (24, "10.3.1.0", "10.3.255.0")),
        ("10.0.0.0/24", (26, "10.0.0.64", "10.0.0.192")),
        ("10.0.0.0/22", (24, "10.0.1.0", "10.0.3.0")),
        ("10.0.0.0/23", (25, "10.0.0.128", "10.0.1.128")),
        ("10.0.0.0/28", (30, "10.0.0.4", "10.0.0.12")),
        ("10.0.0.0/8", (24, "10.0.1.0", "10.255.255.0")),
        ("128.0.0.0/1", (24, "128.0.1.0", "255.255.255.0")),
    ],
)
def test_ipv4_defaults(network: str, expected: tuple[int, str, str]) -> None:
    assert bounds(parse(Network=network).pools.ipv4) == expected


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("fc00::/48", (64, "fc00:0:0:1::", "fc00:0:0:ffff::")),
        ("fc00::/62", (64, "fc00:0:0:1::", "fc00:0:0:3::")),
        ("fc00::/63", (65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::")),
        ("fc00::/124", (126, "fc00::4", "fc00::c")),
        ("8000::/1", (64, "8000:0:0:1::", "ffff:ffff:ffff:ffff::")),
    ],
)
def test_ipv6_defaults(network: str, expected: tuple[int, str, str]) -> None:
    config = parse(EnableIPv4=False, EnableIPv6=True, IPv6Network=network)
    assert config.pools.families == (Family.IPV6,)
    assert bounds(config.pools.ipv6) == expected


def test_given_values_and_dual_stack() -> None:
    config = parse(
        Network="10.3.0.0/16",
        SubnetLen=28,
        SubnetMin="10.3.1.16",
        SubnetMax="10.3.2.0",
        EnableIPv6=True,
        IPv6Network="fc00::/48",
        IPv6SubnetLen=80,
        IPv6SubnetMin="fc00::1:0:0:0",
        IPv6SubnetMax="fc00:0:0:8::",
        EnableNFTables=True,
    )
    assert bounds(config.pools.ipv4) == (28, "10.3.1.16", "10.3.2.0")
    assert bounds(config.pools.ipv6) == (80, "fc00::1:0:0:0", "fc00:0:0:8::")
    assert config.enable_nftables


def test_keys_match_in_any_case_at_every_level() -> None:
    document = '{"network":"10.3.0.0/16","SUBNETLEN":25,"backend":{"type":"ALLOC","vni":7}}'
    config = NetworkConfig.parse(document)
    assert bounds(config.pools.ipv4)[0] == 25
    assert config.backend_type == "alloc"
    assert config.backend_options.integer("VNI", 1) == 7


def test_unknown_keys_are_ignored_and_a_later_duplicate_wins() -> None:
    document = '{"Network":"10.9.0.0/16","x":[{}],"network":"10.3.0.0/16","SubnetLen":24.5'
    with pytest.raises(ConfigError, match="SubnetLen"):
        NetworkConfig.parse(document + "}")
    config = NetworkConfig.parse(document + ',"SubnetLen":25}')
    assert bounds(config.pools.ipv4) == (25, "10.3.0.128", "10.3.255.128")


def test_null_leaves_the_default() -> None:
    plain = parse(Network="10.3.0.0/16")
    names = ["EnableIPv4", "EnableIPv6", "EnableNFTables", "SubnetLen", "SubnetMin", "SubnetMax"]
    names += ["IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax"]
    assert parse(Network="10.3.0.0/16", **dict.fromkeys(names)) == plain
    twice = NetworkConfig.parse('{"Network":"10.3.0.0/16","network":null}')
    assert twice == plain


def test_zero_means_not_given() -> None:
    config = parse(Network="10.3.0.0/16", SubnetLen=0, SubnetMin="0.0.0.0", SubnetMax="0.0.0.0")
    assert config == parse(Network="10.3.0.0/16")


def test_backend_defaults_to_udp_and_is_lower_case() -> None:
    assert parse(Network="10.3.0.0/16").backend_type == "udp"
    config = parse(Network="10.3.0.0/16", Backend={"Type": "VXLAN", "VNI": 5, "Nested": {"A": 1}})
    assert config.backend_type == "vxlan"
    assert config.backend_options.values == {"VNI": 5, "Nested": {"A": 1}}


GOOD4: dict[str, object] = {"Network": "10.3.0.0/16"}
GOOD6: dict[str, object] = {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fc00::/48"}
REFUSED: list[tuple[str, dict[str, object]]] = [
    ("Network", {}),
    ("Network", {"Network": ""}),
    ("Network", {"Network": "0.0.0.0/0"}),
    ("Network", {"Network": "10.3.0.0"}),
    ("Network", {"Network": "10.3.0.0/33"}),
    ("Network", {"Network": "10.03.0.0/16"}),
    ("Network", {"Network": "10.3.0.0/-1"}),
    ("Network", {"Network": "10.3.0.0/16\x00"}),
    ("Network", {"Network": "fc00::/48"}),
    ("Network", {"Network": 10}),
    ("Network", {"Network": "10.0.0.0/29"}),
    ("Network", {"EnableIPv6": True, "IPv6Network": "fc00::/48"}),
    ("EnableIPv4", {**GOOD4, "EnableIPv4": "yes"}),
    ("EnableIPv4", {**GOOD4, "EnableIPv4": 1}),
    ("EnableIPv4", {"EnableIPv4": False}),
    ("EnableIPv6", {**GOOD4, "EnableIPv6": "true"}),
    ("EnableNFTables", {**GOOD4, "EnableNFTables": 0}),
    ("SubnetLen", {**GOOD4, "SubnetLen": 31}),
    ("SubnetLen", {**GOOD4, "SubnetLen": 17}),
    ("SubnetLen", {**GOOD4, "SubnetLen": -1}),
    ("SubnetLen", {**GOOD4, "SubnetLen": "24"}),
    ("SubnetLen", {**GOOD4, "SubnetLen": 24.0}),
    ("SubnetLen", {**GOOD4, "SubnetLen": True}),
    ("SubnetLen", {**GOOD4, "SubnetLen": 10**30}),
    ("SubnetMin", {**GOOD4, "SubnetMin": "10.4.0.0"}),
    ("SubnetMin", {**GOOD4, "SubnetMin": "10.3.1.1"}),
    ("SubnetMin", {**GOOD4, "SubnetMin": "10.3.1"}),
    ("SubnetMin", {**GOOD4, "SubnetMin": "fc00::"}),
    ("SubnetMin", {**GOOD4, "SubnetMin": 1}),
    ("SubnetMin", {**GOOD4, "SubnetMin": "10.3.9.0", "SubnetMax": "10.3.8.0"}),
    ("SubnetMax", {**GOOD4, "SubnetMax": "10.4.0.0"}),
    ("SubnetMax", {**GOOD4, "SubnetMax": "10.3.1.128"}),
    ("SubnetMax", {**GOOD4, "SubnetMax": "10.3.0.0"}),
    ("IPv6Network", {**GOOD4, "EnableIPv6": True}),
    ("IPv6Network", {**GOOD6, "IPv6Network": "::/0"}),
    ("IPv6Network", {**GOOD6, "IPv6Network": "10.3.0.0/16"}),
    ("IPv6Network", {**GOOD6, "IPv6Network": "fc00::/125"}),
    ("IPv6Network", {**GOOD4, "IPv6Network": "nonsense"}),
    ("IPv6SubnetLen", {**GOOD6, "IPv6SubnetLen": 127}),
    ("IPv6SubnetLen", {**GOOD6, "IPv6SubnetLen": 49}),
    ("IPv6SubnetLen", {**GOOD6, "IPv6SubnetLen": 64.5}),
    ("IPv6SubnetMin", {**GOOD6, "IPv6SubnetMin": "fd00::"}),
    ("IPv6SubnetMin", {**GOOD6, "IPv6SubnetMin": "fc00:0:0:1::1"}),
    ("IPv6SubnetMin", {**GOOD6, "IPv6SubnetMin": "10.3.0.0"}),
    ("IPv6SubnetMax", {**GOOD6, "IPv6SubnetMax": "fd00::"}),
    ("IPv6SubnetMax", {**GOOD6, "IPv6SubnetMax": "fc00:0:0:1::1"}),
    ("Backend", {**GOOD4, "Backend": None}),
    ("Backend", {**GOOD4, "Backend": "vxlan"}),
    ("Backend", {**GOOD4, "Backend": []}),
    ("Backend.Type", {**GOOD4, "Backend": {}}),
    ("Backend.Type", {**GOOD4, "Backend": {"Type": ""}}),
    ("Backend.Type", {**GOOD4, "Backend": {"Type": None}}),
    ("Backend.Type", {**GOOD4, "Backend": {"Type": 5}}),
]


@pytest.mark.parametrize(("key", "members"), REFUSED, ids=json.dumps)
def test_what_is_wrong_is_named(key: str, members: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkConfig.parse(json.dumps(members))
    assert caught.value.key == key
    sentence = str(caught.value)
    assert sentence.startswith(key)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "document",
    [
        "",
        "null",
        "[]",
        '"text"',
        "{",
        '{"Network":"10.3.0.0/16"} x',
        '{"Network":"10.3.0.0/16"}{}',
        '{"Network":"10.3.0.0/16",}',
        "{'Network':'10.3.0.0/16'}",
        '{"Network":"10.3.0.0/16","SubnetLen":NaN}',
        '{"Network":"10.3.0.0/16","SubnetLen":024}',
        "\ufeff{}",
        b"\xff\xfe",
        "[" * 100_000,
    ],
)
def test_what_is_not_json_is_one_sentence(document: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        NetworkConfig.parse(document)
    assert caught.value.key == "config"
    assert str(caught.value).startswith("The network configuration")


@given(document=st.text() | st.binary())
def test_any_text_parses_or_is_a_config_error(document: str | bytes) -> None:
    with pytest.raises(ConfigError):
        NetworkConfig.parse(document)


@given(st.data())
def test_a_pool_lies_in_its_network_and_is_aligned(data: st.DataObject) -> None:
    family = data.draw(FAMILIES)
    longest = 28 if family is Family.IPV4 else 124
    network = Prefix(data.draw(addresses(family)), data.draw(st.integers(1, longest))).masked()
    length = data.draw(st.just(0) | st.integers(network.length + 2, longest + 2))
    names = ("Network", "SubnetLen") if family is Family.IPV4 else ("IPv6Network", "IPv6SubnetLen")
    enabled = {"EnableIPv4": family is Family.IPV4, "EnableIPv6": family is Family.IPV6}
    config = parse(**enabled, **{names[0]: str(network), names[1]: length})
    if not any(network.address):
        assert network.length  # a network that begins at zero is one where its length says so
    pool = config.pools.get(family)
    assert pool is not None
    assert pool.network == network
    assert pool.subnet_length >= network.length + 2
    assert length in (0, pool.subnet_length)
    size = 1 << family.bits - pool.subnet_length
    for base in (pool.first, pool.last):
        subnet = Prefix(base, pool.subnet_length)
        assert subnet.is_network
        assert network.covers(subnet)
    assert pool.first.to_int() == network.first + size
    assert pool.last.to_int() == network.last + 1 - size
