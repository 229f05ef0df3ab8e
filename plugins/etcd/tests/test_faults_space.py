"""A full etcd: said in a sentence, waited out, and well again when somebody has made room."""

import pytest

from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    holds,
    keeping,
    leases_in_use,
    manager,
    node,
    options,
    put_config,
    viewing,
)
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture
def small(start_etcd: StartEtcd, prefix: str) -> Cluster:
    """A server with little room, and a network."""
    etcd = start_etcd(Setup(flags=("--quota-backend-bytes=1000000",)))
    put_config(etcd, prefix)
    return etcd


async def test_a_full_store_takes_no_new_node(small: Cluster, prefix: str) -> None:
    small.control.fill()
    async with manager(options(small.member.url, prefix=prefix)) as opened:
        assert (await opened.get_network_config()).backend_type == "vxlan"
        with pytest.raises(StoreUnavailable, match="space") as failed:
            await opened.acquire_lease(node(1))
        assert small.member.address in str(failed.value)
        small.control.make_room()
        await opened.acquire_lease(node(1))
    await eventually(
        lambda: small.control.leases() == leases_in_use(small.control), "no etcd lease left over"
    )


async def test_renewals_wait_for_room(small: Cluster, prefix: str) -> None:
    async with (
        manager(options(small.member.url, prefix=prefix), lease_ttl=8) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        subnets = keeper.lease.subnets
        small.control.fill()
        await eventually(lambda: keeper.status()["last_error"], "a failed renewal", PATIENCE)
        assert "space" in str(keeper.status()["last_error"])
        small.control.make_room()
        await eventually(lambda: keeper.status()["renewals"], "a renewal", PATIENCE)
        await holds(keeper, small.control, prefix)
        assert keeper.lease.subnets == subnets
        await view.agrees(small, prefix)
        await eventually(
            lambda: small.control.leases() == leases_in_use(small.control), "one etcd lease"
        )
