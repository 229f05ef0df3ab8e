"""What the kernel refuses is kept with its object and tried ever later; nothing else suffers."""

import asyncio

import pytest

from flannel_sdk.dataplane import Ownership, Route
from flannel_sdk.model import IPAddress
from flannel_sdk.testing.namespaces import Namespace
from tests.dataplane.nodes import OWNERSHIP, add_underlay, eventually, peers, reconciler, routes

pytestmark = pytest.mark.root
UNDERLAY_ONLY = Ownership(networks=OWNERSHIP.networks)


def direct(count: int, gateway: str) -> list[tuple[int, list[Route]]]:
    via = IPAddress.parse(gateway)
    return [(n, [Route(one.subnet, "eth0", via)]) for n, one in enumerate(peers(count))]


async def test_many_refused_at_once_are_not_compared_over_and_over(netns: Namespace) -> None:
    add_underlay(netns)
    async with reconciler(netns, running=True, ownership=UNDERLAY_ONLY) as made:
        await made.update(direct(300, "172.16.0.9"), full=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                while int(str(made.status()["audits"])) <= 4:
                    await asyncio.sleep(0.01)
        assert made.status()["failed"] == {
            "count": 300,
            "reasons": {"Nexthop has invalid gateway (ENETUNREACH)": 300},
        }
        await asyncio.to_thread(netns.ip, "address add 172.16.0.1/24 dev eth0")
        await eventually(lambda: len(routes(netns)) == 300)
