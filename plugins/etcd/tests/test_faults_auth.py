"""Users: tokens that end, passwords that change, rights that lack, and all of it in a sentence."""

import asyncio
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import FlannelError, PermanentError, StoreUnavailable
from flannel_sdk.model import Secret
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.load import (
    PATIENCE,
    holds,
    keeping,
    leases_in_use,
    manager,
    node,
    put_config,
    viewing,
)
from plugins.etcd.tests.servers import Cluster, Setup, StartEtcd

pytestmark = pytest.mark.server

PASSWORD = "correct-horse"
TOKEN_SECONDS = 2


def as_user(
    etcd: Cluster, prefix: str, user: str = "flannel", password: str = PASSWORD
) -> EtcdOptions:
    return EtcdOptions(
        endpoints=etcd.urls, prefix=prefix, user=user, password=Secret(password), timeout=3.0
    )


def add_users(etcd: Cluster, prefix: str) -> None:
    """A network, a user who may use it and one who may only read it, and users enforced."""
    put_config(etcd, prefix)
    etcd.control.add_user("flannel", PASSWORD, roles=["network"])
    etcd.control.allow("network", prefix)
    etcd.control.add_user("reader", PASSWORD, roles=["reading"])
    etcd.control.allow("reading", prefix, "READ")
    etcd.control.enable_auth("root-password")


@pytest.fixture(params=["simple", "jwt"])
def short_tokens(
    request: pytest.FixtureRequest, start_etcd: StartEtcd, prefix: str, tmp_path: Path
) -> Cluster:
    """A server with users whose tokens end after two seconds."""
    if request.param == "simple":
        flags = (f"--auth-token-ttl={TOKEN_SECONDS}",)
    else:
        public, private = _key_pair(tmp_path)
        keys = f"pub-key={public},priv-key={private}"
        flags = (f"--auth-token=jwt,{keys},sign-method=RS256,ttl={TOKEN_SECONDS}s",)
    etcd = start_etcd(Setup(flags=flags))
    add_users(etcd, prefix)
    return etcd


def _key_pair(folder: Path) -> tuple[Path, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private, public = folder / "jwt.key", folder / "jwt.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return public, private


@pytest.fixture
def users(start_etcd: StartEtcd, prefix: str) -> Cluster:
    etcd = start_etcd(Setup())
    add_users(etcd, prefix)
    return etcd


@pytest.mark.slow
async def test_tokens_that_end_under_a_watch_and_renewals(
    short_tokens: Cluster, prefix: str
) -> None:
    etcd = short_tokens
    async with (
        manager(as_user(etcd, prefix), lease_ttl=6) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        for number in (2, 3):
            # idle for longer than a token lives
            await asyncio.sleep(TOKEN_SECONDS + 1)
            etcd.control.put(f"{prefix}/subnets/10.3.{number}.0-24", '{"PublicIP":"192.0.2.9"}')
            await view.agrees(etcd, prefix, seconds=8)
        await eventually(lambda: keeper.status()["renewals"], "a renewal", PATIENCE)
        await holds(keeper, etcd.control, prefix)
        assert keeper.status()["reacquisitions"] == 0
        assert keeper.status()["last_error"] is None


@pytest.mark.slow
async def test_tokens_that_a_restart_forgets(users: Cluster, prefix: str) -> None:
    async with (
        manager(as_user(users, prefix), lease_ttl=30) as opened,
        keeping(opened, 1) as keeper,
        viewing(opened) as view,
    ):
        await asyncio.to_thread(users.member.restart)
        users.control.put(f"{prefix}/subnets/10.3.2.0-24", '{"PublicIP":"192.0.2.9"}')
        await view.agrees(users, prefix)
        await opened.acquire_lease(node(3))
        await view.agrees(users, prefix)
        await holds(keeper, users.control, prefix)


async def test_a_wrong_password_is_final_and_not_shown(users: Cluster, prefix: str) -> None:
    async with manager(as_user(users, prefix, password="wrong-battery")) as opened:
        with pytest.raises(PermanentError, match="flannel") as failed:
            await opened.get_network_config()
    assert "wrong-battery" not in repr(failed.value) + str(failed.value)
    assert users.member.address in str(failed.value)


async def test_users_wanted_and_none_given(users: Cluster, prefix: str) -> None:
    bare = EtcdOptions(endpoints=users.urls, prefix=prefix)
    async with manager(bare) as opened:
        with pytest.raises(PermanentError, match="user"):
            await opened.get_network_config()


async def test_a_user_who_may_only_read(users: Cluster, prefix: str) -> None:
    async with manager(as_user(users, prefix, user="reader")) as opened:
        assert (await opened.get_network_config()).backend_type == "vxlan"
        with pytest.raises(FlannelError, match=r"reader.*(permission|may not|right)"):
            await opened.acquire_lease(node(1))
    assert users.control.leases() == leases_in_use(users.control), "an etcd lease is left over"


async def test_a_user_without_users_on_the_server(etcd: Cluster, prefix: str) -> None:
    """Credentials that the server does not ask for do no harm, as with etcd's own client."""
    put_config(etcd, prefix)
    async with manager(as_user(etcd, prefix)) as opened:
        await opened.acquire_lease(node(1))


@pytest.mark.slow
async def test_users_that_are_turned_on_and_off_meanwhile(
    start_etcd: StartEtcd, prefix: str
) -> None:
    etcd = start_etcd(Setup())
    put_config(etcd, prefix)
    async with manager(as_user(etcd, prefix)) as opened, viewing(opened) as view:
        await opened.acquire_lease(node(1))
        add_users(etcd, prefix)
        await opened.acquire_lease(node(2))
        await view.agrees(etcd, prefix)
        etcd.control.ask("auth/disable", {})
        await opened.acquire_lease(node(3))
        await view.agrees(etcd, prefix)


@pytest.mark.slow
async def test_a_password_that_is_changed_meanwhile(short_tokens: Cluster, prefix: str) -> None:
    """Once it has worked, a refused password is waited out: somebody may be changing it."""
    etcd = short_tokens
    async with manager(as_user(etcd, prefix)) as opened:
        await opened.acquire_lease(node(1))
        etcd.control.change_password("flannel", "another-one")
        await asyncio.sleep(TOKEN_SECONDS + 1)
        with pytest.raises(StoreUnavailable, match="flannel"):
            await opened.acquire_lease(node(2))
        etcd.control.change_password("flannel", PASSWORD)
        await opened.acquire_lease(node(2))
