"""The etcd of this Debian release, which is older than ours: a few of the tests on it too.

``ETCD=/path/to/etcd make test`` runs all of them on any other.
"""

import asyncio
import sys
from pathlib import Path

import pytest
from flannel_sdk_etcd.options import EtcdOptions
from flannel_sdk_etcd.server_program import FETCHED

from flannel_sdk.model import Secret
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests import servers
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
from plugins.etcd.tests.proxy import OpenProxy
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="session")
def debians() -> Path:
    """Debian's etcd, which ``make test`` fetched if it could."""
    program = Path(sys.prefix) / FETCHED
    if not program.exists():
        pytest.skip("Debian's etcd is not here; sh .ci/etcd.sh debian .venv/bin/python says why")
    return program


@pytest.fixture
def old(start_etcd: StartEtcd, debians: Path, prefix: str) -> Cluster:
    """A server of that version, with a network."""
    etcd = start_etcd(Setup(server=debians))
    put_config(etcd, prefix)
    return etcd


def test_it_is_another_version(debians: Path) -> None:
    if servers.version(debians) == servers.version():
        pytest.skip(f"{servers.program()} is of the same version")


async def test_a_node_lives_on_it(old: Cluster, prefix: str) -> None:
    """Acquired, renewed, watched, deleted and taken again, over a restart."""
    here = options(old.member.url, prefix=prefix)
    async with (
        manager(here, lease_ttl=4) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        await eventually(lambda: keeper.status()["renewals"], "a renewal", PATIENCE)
        await view.agrees(old, prefix)
        old.control.delete(f"{prefix}/subnets/", prefix=True)
        await eventually(lambda: keeper.status()["reacquisitions"], "a new lease", PATIENCE)
        await holds(keeper, old.control, prefix)
        await asyncio.to_thread(old.member.restart)
        await opened.acquire_lease(node(2))
        await view.agrees(old, prefix)
        await holds(keeper, old.control, prefix)
    await eventually(
        lambda: old.control.leases() == leases_in_use(old.control), "no etcd lease left", PATIENCE
    )


async def test_compaction_while_cut_off(old: Cluster, prefix: str, open_proxy: OpenProxy) -> None:
    proxy = await open_proxy(old.member.port)
    async with (
        manager(options(old.member.url, prefix=prefix)) as others,
        manager(options(proxy.url(), prefix=prefix)) as opened,
        viewing(opened) as view,
    ):
        await others.acquire_lease(node(1))
        await view.agrees(old, prefix)
        proxy.refuse()
        for number in (2, 3):
            await others.acquire_lease(node(number))
        old.control.compact()
        proxy.heal()
        await view.agrees(old, prefix)
        assert view.snapshots == 2


async def test_tokens_that_end(start_etcd: StartEtcd, debians: Path, prefix: str) -> None:
    etcd = start_etcd(Setup(server=debians, flags=("--auth-token-ttl=2",)))
    put_config(etcd, prefix)
    etcd.control.add_user("flannel", "secret", roles=["network"])
    etcd.control.allow("network", prefix)
    etcd.control.enable_auth("root-password")
    here = EtcdOptions(etcd.urls, prefix, user="flannel", password=Secret("secret"))
    async with manager(here) as opened, viewing(opened) as view:
        await opened.acquire_lease(node(1))
        await asyncio.sleep(3)  # the token ends in it
        await opened.acquire_lease(node(2))
        await view.agrees(etcd, prefix)
