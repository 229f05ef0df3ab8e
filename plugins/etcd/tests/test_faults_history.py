"""History that is gone: compaction while a watch is cut off gives a snapshot, not a gap."""

import pytest

from flannel_sdk.model import ByFamily, LeaseAttrs, LeaseSnapshot, format_subnet_key
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    background,
    manager,
    node,
    options,
    put_config,
    viewing,
)
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Setup, StartEtcd

pytestmark = pytest.mark.server


def changed(number: int) -> LeaseAttrs:
    """The node's attributes with another VTEP."""
    return LeaseAttrs(node(number).public_ips, "vxlan", ByFamily('{"VNI":7}'))


async def test_compaction_while_cut_off(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    proxy = await open_proxy(etcd.member.port)
    async with (
        manager(options(etcd.member.url, prefix=prefix)) as others,
        manager(options(proxy.url(), prefix=prefix)) as opened,
    ):
        leases = [await others.acquire_lease(node(number)) for number in range(1, 5)]
        async with viewing(opened) as view:
            await view.agrees(etcd, prefix)
            proxy.refuse()
            changed_lease = await others.acquire_lease(changed(1))
            gone = format_subnet_key(leases[1].subnets)
            etcd.control.delete(f"{prefix}/subnets/{gone}")
            added = await others.acquire_lease(node(9))
            etcd.control.compact()
            proxy.heal()
            await view.agrees(etcd, prefix)
            assert view.snapshots == 2
            last = next(i for i in reversed(view.items) if isinstance(i, LeaseSnapshot))
            by_subnets = {lease.subnets: lease.attrs for lease in last.leases}
            assert by_subnets == {
                leases[0].subnets: changed(1),
                leases[2].subnets: node(3),
                leases[3].subnets: node(4),
                added.subnets: node(9),
            }
            assert changed_lease.subnets == leases[0].subnets
            # and it goes on from there
            await others.acquire_lease(node(10))
            await view.agrees(etcd, prefix)
            assert view.snapshots == 2


async def test_compaction_while_connected_is_not_noticed(
    start_etcd: StartEtcd, prefix: str
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    async with manager(options(etcd.member.url, prefix=prefix)) as opened, viewing(opened) as view:
        for number in range(1, 6):
            await opened.acquire_lease(node(number))
            await view.agrees(etcd, prefix)
            etcd.control.compact()
        assert view.snapshots == 1


@pytest.mark.slow
async def test_a_cut_without_compaction_resumes_with_deltas(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    proxy = await open_proxy(etcd.member.port)
    async with (
        manager(options(etcd.member.url, prefix=prefix)) as others,
        manager(options(proxy.url(), prefix=prefix)) as opened,
        viewing(opened) as view,
    ):
        await others.acquire_lease(node(1))
        await view.agrees(etcd, prefix)
        proxy.refuse()
        await others.acquire_lease(node(2))
        proxy.heal()
        await view.agrees(etcd, prefix)
        assert view.snapshots == 1


async def test_the_configuration_is_followed_over_a_compaction(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    proxy = await open_proxy(etcd.member.port)
    seen: list[str] = []
    async with manager(options(proxy.url(), prefix=prefix)) as opened:

        async def follow() -> None:
            async for config in opened.watch_network_config():
                seen.append(config.backend_type)

        async with background(follow()):
            await eventually(lambda: seen == ["vxlan"], "the first configuration", PATIENCE)
            proxy.refuse()
            etcd.control.put(
                f"{prefix}/config", '{"Network":"10.3.0.0/16","Backend":{"Type":"host-gw"}}'
            )
            etcd.control.compact()
            proxy.heal()
            await eventually(lambda: seen[-1] == "host-gw", "the new configuration", PATIENCE)


async def test_a_removal_is_seen_though_history_is_compacted_right_after_it(
    start_etcd: StartEtcd, prefix: str, open_proxy: OpenProxy
) -> None:
    """etcd#18089: servers older than its fix leave such a removal out of a watch that begins there.

    The removal is the first change that we miss, and the last one that is compacted away.
    """
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    proxy = await open_proxy(etcd.member.port)
    async with (
        manager(options(etcd.member.url, prefix=prefix)) as others,
        manager(options(proxy.url(), prefix=prefix)) as opened,
        viewing(opened) as view,
    ):
        lease = await others.acquire_lease(node(1))
        await view.agrees(etcd, prefix)
        proxy.refuse()
        removed_at = etcd.control.delete(f"{prefix}/subnets/{format_subnet_key(lease.subnets)}")
        assert removed_at == lease.revision + 1
        etcd.control.compact(removed_at)
        await others.acquire_lease(node(2))
        proxy.heal()
        await view.agrees(etcd, prefix)
