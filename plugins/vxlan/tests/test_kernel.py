"""vxlan on the real kernel: traffic, restarts, repair, refused peers, direct routing."""

import contextlib
from collections.abc import Callable

import pytest

from flannel_sdk.model import ByFamily, Family, IPAddress, Lease, LeaseAttrs
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.testing.waiting import eventually
from plugins.vxlan.tests.joining import join, peer
from tests.overlay import V4, V6, Node, config, reaches, running, stream, told, underlay

pytestmark = pytest.mark.root


@pytest.fixture
def nodes(make_netns: Callable[[str], Namespace]) -> list[Node]:
    return underlay(make_netns)


@pytest.mark.parametrize(
    ("families", "mtu"), [((V4,), 1450), ((V6,), 1430), ((V4, V6), 1430)], ids=["4", "6", "dual"]
)
async def test_carries_whole_pod_packets_both_ways(
    nodes: list[Node], families: tuple[Family, ...], mtu: int
) -> None:
    one, two = nodes
    settings = config("vxlan", *families)
    first, second = await join(one, settings), await join(two, settings)
    assert first.mtu == second.mtu == mtu
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        for family in families:
            assert await reaches(one, two, family, size=mtu)
            assert await reaches(two, one, family, size=mtu)
        largest = 1450 if families[-1] is V4 else 1430
        assert not await reaches(one, two, families[-1], size=largest + 1, seconds=0.2)
    assert one.fragments() == two.fragments() == 0
    for family in families:  # a network that has stopped still carries
        assert await reaches(one, two, family, size=mtu)


async def test_d16_every_vni_works_in_dual_stack(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("vxlan", V4, V6, VNI=2**24 - 1)
    first, second = await join(one, settings), await join(two, settings)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        assert await reaches(one, two, V6)
    assert one.device("fl-v6.16777215") is not None


async def test_a_restart_adopts_what_is_there_and_writes_nothing(nodes: list[Node]) -> None:
    node = nodes[0]
    settings = config("vxlan", V4, V6)
    peers = [peer(number, f"02:00:00:00:00:{number:02x}") for number in range(2, 30)]
    first = await join(node, settings)
    async with running(first) as feed:
        await feed.full(peers)
    before = node.device("flannel.1"), node.fdb("flannel.1"), node.routes()
    assert len(before[1]) == len(peers)
    second = await join(node, settings)
    assert second.lease.attrs == first.lease.attrs
    async with running(second) as feed:
        await feed.full(peers)
        assert told(second, "written") == 0
    assert (node.device("flannel.1"), node.fdb("flannel.1"), node.routes()) == before


async def test_no_packet_is_lost_over_a_restart(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("vxlan", V4)
    first, second = await join(one, settings), await join(two, settings)
    async with running(second) as feed2:
        await feed2.full([first.lease])
        async with contextlib.AsyncExitStack() as traffic:
            async with running(first) as feed1:
                await feed1.full([second.lease])
                assert await reaches(one, two, V4)
                flow = await traffic.enter_async_context(stream(one, two, V4))
            async with running(await join(one, settings)) as feed1:
                before = flow.sent
                await feed1.full([second.lease])
                await eventually(lambda: flow.sent > before + 50, "traffic goes on")
    assert flow.sent > 50
    assert flow.lost == set()


async def test_d12_a_deleted_device_comes_back_with_its_mac_and_all_peers(
    nodes: list[Node],
) -> None:
    one, two = nodes
    settings = config("vxlan", V4, V6)
    first, second = await join(one, settings), await join(two, settings)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease, peer(9)])
        await feed2.full([first.lease])
        assert await reaches(two, one, V4)
        before = one.device("flannel.1")
        for name, family in (("flannel.1", V4), ("flannel-v6.1", V6)):
            one.ip(f"link del {name}")
            assert await reaches(two, one, family)
            assert await reaches(one, two, family)
        after = one.device("flannel.1")
        assert before is not None
        assert after is not None
        assert before["ifindex"] != after["ifindex"]
        assert before["address"] == after["address"]
        await eventually(lambda: len(one.fdb("flannel.1")) == 2, "both peers are back")


async def test_d12_the_underlay_interface_may_go_and_come_back(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("vxlan", V4, V6)
    first, second = await join(one, settings), await join(two, settings)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        one.ip("link del eth0")
        await eventually(lambda: one.device("flannel.1") is None, "the device went with it")
        one.plug()
        for family in (V4, V6):
            assert await reaches(one, two, family, seconds=10)
            assert await reaches(two, one, family, seconds=10)


async def test_d13_what_is_lost_comes_back_and_what_is_stale_goes(nodes: list[Node]) -> None:
    node = nodes[0]
    settings = config("vxlan", V4)
    async with running(await join(node, settings)) as feed:
        await feed.full([peer(2, "02:00:00:00:00:02"), peer(3, "02:00:00:00:00:03")])
        node.ip("route del 10.5.2.0/24")
        node.ip("neigh del 10.5.2.0 dev flannel.1")
        node.netns.bridge("fdb del 02:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self")
        await eventually(
            lambda: (
                "10.5.2.0/24" in node.routes()
                and "02:00:00:00:00:02" in node.fdb("flannel.1")
                and "10.5.2.0" in str(node.show("neigh show dev flannel.1"))
            ),
            "route, neighbour and forwarding entry are back",
        )
    # While nobody runs, peer 2 leaves, and peer 3 gets another MAC.
    async with running(await join(node, settings)) as feed:
        await feed.full([peer(3, "02:00:00:00:00:33")])
        assert node.fdb("flannel.1") == {"02:00:00:00:00:33": "192.0.2.3"}
        assert node.routes() == {"10.5.3.0/24": "10.5.3.0"}
        await feed.change([peer(3, "02:00:00:00:00:34")])
        assert node.fdb("flannel.1") == {"02:00:00:00:00:34": "192.0.2.3"}


async def test_d14_removing_a_peer_that_is_already_gone_holds_up_nobody(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    async with running(await join(node, config("vxlan", V4))) as feed:
        gone = [peer(number, f"02:00:00:00:00:{number:02x}") for number in range(2, 12)]
        await feed.full(gone)
        for number in range(2, 12):
            node.ip(f"route del 10.5.{number}.0/24")
        node.ip("neigh flush dev flannel.1 nud permanent")
        await feed.change([peer(20)], [lease.subnets for lease in gone])
        await eventually(
            lambda: node.routes() == {"10.5.20.0/24": "10.5.20.0"}, "the new peer alone", 1.0
        )


async def test_d11_a_node_of_one_family_lives_with_peers_of_two(nodes: list[Node]) -> None:
    one, two = nodes
    first, second = await join(one, config("vxlan", V4)), await join(two, config("vxlan", V4, V6))
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        assert await reaches(two, one, V4)
    assert one.device("flannel-v6.1") is None


async def test_a_refused_peer_harms_no_other(nodes: list[Node]) -> None:
    one, two = nodes
    settings = config("vxlan", V4)
    first, second = await join(one, settings), await join(two, settings)
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([peer(8, vni=2), second.lease, peer(9, mac="none")])
        await feed2.full([first.lease])
        assert await reaches(one, two, V4)
        assert set(one.routes()) == {"10.5.2.0/24"}
        assert told(first, "peers", "refused") == {
            "its VNI is 2, not 1": 1,
            "its vxlan data holds no VtepMAC that can be read": 1,
        }


async def test_direct_routing_is_decided_again_when_the_underlay_changes(
    nodes: list[Node],
) -> None:
    one, two = nodes
    settings = config("vxlan", V4, DirectRouting=True)
    first, second = await join(one, settings), await join(two, settings)
    direct, tunnel = {"10.5.2.0/24": "192.0.2.2"}, {"10.5.2.0/24": "10.5.2.0"}
    async with running(first) as feed1, running(second) as feed2:
        await feed1.full([second.lease])
        await feed2.full([first.lease])
        assert one.routes() == direct
        assert one.fdb("flannel.1") == {}
        assert await reaches(one, two, V4, size=1500)
        one.ip("route add 192.0.2.2/32 via 192.0.2.77 dev eth0")
        await eventually(lambda: one.routes() == tunnel, "encapsulated behind a gateway")
        one.ip("route del 192.0.2.2/32")
        await eventually(lambda: one.routes() == direct, "direct again")
        await eventually(lambda: one.fdb("flannel.1") == {}, "what encapsulated is gone")
        assert await reaches(one, two, V4, size=1500)


async def test_direct_routing_encapsulates_where_the_kernel_knows_no_way(
    nodes: list[Node],
) -> None:
    node = nodes[0]
    far = Lease(
        peer(9).subnets,
        LeaseAttrs(ByFamily(IPAddress.parse("198.51.100.9")), "vxlan", peer(9).attrs.backend_data),
    )
    async with running(await join(node, config("vxlan", V4, DirectRouting=True))) as feed:
        await feed.full([far, peer(2, "02:00:00:00:00:02")])
        assert node.routes() == {"10.5.9.0/24": "10.5.9.0", "10.5.2.0/24": "192.0.2.2"}
