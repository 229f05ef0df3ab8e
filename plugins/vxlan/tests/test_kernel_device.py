"""The vxlan device on the real kernel: made, adopted, remade, and where it sends from."""

from collections.abc import Callable

import pytest
from flannel_sdk_vxlan import plugin
from flannel_sdk_vxlan.device import derive_mac

from flannel_sdk.interfaces import CONTRACT_VERSION, BackendPlugin
from flannel_sdk.model import ByFamily, IPAddress, LeaseAttrs
from flannel_sdk.testing.namespaces import Namespace
from plugins.vxlan.tests.joining import backend, join
from tests.overlay import V4, V6, Node, config, register, underlay

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


def test_the_plugin_says_its_contract() -> None:
    assert isinstance(plugin, BackendPlugin)
    assert plugin.contract_version == CONTRACT_VERSION


async def test_publishes_the_mac_of_the_real_device_and_has_the_base_address(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    _, leases = await register(backend(node), node, config("vxlan", V4, V6, VNI=7))
    macs = {}
    for name in ("flannel.7", "flannel-v6.7"):
        device = node.device(name)
        assert device is not None
        macs[name] = device["address"]
    assert leases.published == [
        LeaseAttrs(
            node.public_ips,
            "vxlan",
            ByFamily(
                f'{{"VNI":7,"VtepMAC":"{macs["flannel.7"]}"}}',
                f'{{"VNI":7,"VtepMAC":"{macs["flannel-v6.7"]}"}}',
            ),
        )
    ]
    assert node.public_ips.ipv4 is not None
    assert macs["flannel.7"] == str(derive_mac(node.public_ips.ipv4, 7))
    (shown,) = node.show("-4 addr show dev flannel.7")
    assert "'local': '10.5.1.0', 'prefixlen': 32" in str(shown)
    (shown,) = node.show("-6 addr show dev flannel-v6.7")
    assert "'local': 'fd00:5:0:1::', 'prefixlen': 128" in str(shown)


async def test_makes_flannels_device(nodes: list[Node]) -> None:
    node = nodes[0]
    await join(node, config("vxlan", V4, Port=4789, Learning=True, GBP=True))
    device = node.device("flannel.1")
    assert device is not None
    said = str(device)
    assert device["mtu"] == 1450
    assert "UP" in said
    for part in (
        "'info_kind': 'vxlan'",
        "'id': 1",
        "'link': 'eth0'",
        "'local': '192.0.2.1'",
        "'port': 4789",
        "'learning': True",
        "'gbp': True",
    ):
        assert part in said


@pytest.mark.parametrize(
    "made",
    [
        "id 1 dev eth0 local 192.0.2.1 dstport 4789 nolearning",
        "id 2 dev eth0 local 192.0.2.1 dstport 8472 nolearning",
        "id 1 dev eth0 local 192.0.2.99 dstport 8472 nolearning",
        "id 1 dev eth0 local 192.0.2.1 dstport 8472 learning",
        "id 1 dev eth0 local 192.0.2.1 dstport 8472 nolearning l3miss",
        "id 1 dev eth0 local 192.0.2.1 dstport 8472 nolearning gbp",
        "id 1 dev eth0 local 192.0.2.1 dstport 8472 nolearning ttl 5",
        "id 1 dev eth0 group 239.1.1.1 local 192.0.2.1 dstport 8472 nolearning",
        "external dstport 8472",
    ],
    ids=["port", "vni", "local", "learning", "l3miss", "gbp", "ttl", "group", "external"],
)
async def test_d16_an_existing_device_that_differs_is_remade_with_its_mac(
    nodes: list[Node], made: str
) -> None:
    node = nodes[0]
    node.ip(f"link add flannel.1 address 02:00:00:00:00:77 type vxlan {made}")
    before = node.device("flannel.1")
    await join(node, config("vxlan", V4))
    after = node.device("flannel.1")
    assert before is not None
    assert after is not None
    assert after["ifindex"] != before["ifindex"]
    assert after["address"] == "02:00:00:00:00:77"
    assert "'local': '192.0.2.1'" in str(after)
    assert "'id': 1" in str(after)


async def test_d16_the_mtu_of_an_existing_device_is_corrected(nodes: list[Node]) -> None:
    node = nodes[0]
    await join(node, config("vxlan", V4))
    node.ip("link set flannel.1 mtu 1200")
    await join(node, config("vxlan", V4))
    device = node.device("flannel.1")
    assert device is not None
    assert device["mtu"] == 1450


@pytest.mark.parametrize("kind", ["bridge", "veth peer name other"])
async def test_a_device_of_another_kind_is_remade(nodes: list[Node], kind: str) -> None:
    node = nodes[0]
    node.ip(f"link add flannel.1 type {kind}")
    await join(node, config("vxlan", V4))
    assert "'info_kind': 'vxlan'" in str(node.device("flannel.1"))


async def test_d17_behind_nat_the_tunnel_leaves_from_the_interfaces_address(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    nat = ByFamily(IPAddress.parse("203.0.113.1"))
    _, leases = await register(backend(node, nat), node, config("vxlan", V4))
    assert leases.published[0].public_ips == nat
    assert "'local': '192.0.2.1'" in str(node.device("flannel.1"))


async def test_d17_a_public_ip_that_is_local_is_what_the_tunnel_leaves_from(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    node.ip("addr add 203.0.113.1/32 dev lo")
    await register(
        backend(node, ByFamily(IPAddress.parse("203.0.113.1"))), node, config("vxlan", V4)
    )
    assert "'local': '203.0.113.1'" in str(node.device("flannel.1"))


async def test_registering_again_follows_the_lease_and_the_options(nodes: list[Node]) -> None:
    node = nodes[0]
    same = backend(node)
    await register(same, node, config("vxlan", V4))
    moved = node._replace(number=5)
    network, _ = await register(same, moved, config("vxlan", V4, MTU=1400))
    (shown,) = node.show("-4 addr show dev flannel.1")
    assert "10.5.5.0" in str(shown)
    assert "10.5.1.0" not in str(shown)
    assert shown["mtu"] == network.mtu == 1350
