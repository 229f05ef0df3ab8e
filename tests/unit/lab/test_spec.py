"""LabSpec: network config, address plan, and what is refused."""

import json

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.lab import Families, LabSpec
from flannel_sdk.model import NetworkConfig
from flannel_sdk.model.options import parse_backend_option


@pytest.mark.parametrize(
    ("families", "networks"),
    [
        (Families.IPV4, ["10.5.0.0/16"]),
        (Families.IPV6, ["fd05::/48"]),
        (Families.DUAL, ["10.5.0.0/16", "fd05::/48"]),
    ],
)
def test_the_config_enables_just_the_families(families: Families, networks: list[str]) -> None:
    config = NetworkConfig.parse(LabSpec(families=families).network_config())
    pools = [str(pool.network) for _, pool in config.pools.items_by_family()]
    assert pools == networks


def test_backend_options_go_into_the_backend_object() -> None:
    options = dict(map(parse_backend_option, ["DirectRouting=true", "VNI=7", "Name=x=y"]))
    document = json.loads(LabSpec(backend_options=options).network_config())
    assert document["Backend"] == {
        "Type": "vxlan",
        "DirectRouting": True,
        "VNI": 7,
        "Name": "x=y",
    }


def test_nodes_take_turns_on_two_subnets() -> None:
    spec = LabSpec(nodes=3, subnets=2, families=Families.DUAL)
    assert [list(map(str, spec.underlay_addresses(n))) for n in (1, 2, 3)] == [
        ["192.168.101.1/24", "fd00:101::1/64"],
        ["192.168.102.2/24", "fd00:102::2/64"],
        ["192.168.101.3/24", "fd00:101::3/64"],
    ]
    assert [str(a) for a in spec.router_addresses(2)] == ["192.168.102.254/24", "fd00:102::254/64"]


def test_no_node_has_the_routers_address() -> None:
    spec = LabSpec(nodes=250, families=Families.DUAL)
    nodes = {address for n in range(1, 251) for address in spec.underlay_addresses(n)}
    assert len(nodes) == 500
    assert nodes.isdisjoint(spec.router_addresses(1))


def test_a_spec_survives_json() -> None:
    spec = LabSpec(
        nodes=2, backend="host-gw", backend_options={"a": 1}, families=Families.DUAL, subnets=2
    )
    assert LabSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: LabSpec(nodes=0), "nodes"),
        (lambda: LabSpec(nodes=251), "nodes"),
        (lambda: LabSpec(subnets=3), "subnets"),
        (lambda: LabSpec(store="memory"), "store"),
        (lambda: parse_backend_option("VNI"), "backend-option"),
        (lambda: parse_backend_option("=1"), "backend-option"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: "object", key: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == key
