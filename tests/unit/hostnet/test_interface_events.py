"""Changes of links and addresses are heard of, in a real namespace."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from flannel_sdk.hostnet.external_interface import find_external_interface, is_as_it_was
from flannel_sdk.hostnet.interface_events import interface_changes
from flannel_sdk.hostnet.interface_request import InterfaceRequest
from flannel_sdk.model import ByFamily, Family, IPAddress
from flannel_sdk.testing.namespaces import Namespace

pytestmark = pytest.mark.root


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk.hostnet.interface_events._CALM_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "change",
    [
        ["address add 192.0.2.2/24 dev eth0"],
        ["address add 2001:db8::2/64 dev eth0"],
        ["link set eth0 mtu 1400"],
        ["link set eth0 down"],
        ["link delete eth0"],
        [f"address {verb} 192.0.2.9/24 dev eth0" for verb in ("add", "delete")] * 50,
    ],
    ids=lambda commands: commands[0] if len(commands) == 1 else "many",
)
async def test_a_change_is_heard_of(netns: Namespace, change: list[str]) -> None:
    netns.add_veth("eth0", "192.0.2.1/24")
    async with aclosing(interface_changes(netns.path)) as changes, asyncio.timeout(20):
        assert await anext(changes) is False, "the first look is nobody's word"
        netns.ip_batch(change)
        assert await anext(changes) is True


@pytest.mark.usefixtures("impatient")
async def test_who_hears_nothing_may_look_now_and_then(netns: Namespace) -> None:
    async with aclosing(interface_changes(netns.path, at_least_every=0.01)) as changes:
        async with asyncio.timeout(20):
            assert [await anext(changes) for _ in range(2)] == [False, False]


async def test_routes_are_not_listened_to(netns: Namespace) -> None:
    netns.ip_batch(
        [
            "link add eth0 type veth peer name wire",
            # IPv6 addresses of the kernel's own would be told of when they are known to be unique.
            *(f"link set {end} addrgenmode none" for end in ("eth0", "wire")),
            "address add 192.0.2.1/24 dev eth0",
            *(f"link set {end} up" for end in ("eth0", "wire")),
        ]
    )
    async with aclosing(interface_changes(netns.path, at_least_every=0.01)) as changes:
        async with asyncio.timeout(20):
            await anext(changes)
            while await anext(changes):
                pass  # the links are coming up still
            netns.ip_batch(f"route add 10.{n}.0.0/16 via 192.0.2.254" for n in range(50))
            assert await anext(changes) is False


def test_an_interface_is_as_it_was_until_what_is_used_of_it_changes(netns: Namespace) -> None:
    netns.add_veth("eth0", "192.0.2.1/24", "2001:db8::1/64")
    families = [Family.IPV4, Family.IPV6]
    current = find_external_interface(InterfaceRequest("eth0"), families, netns.path)
    assert is_as_it_was(current, netns.path)
    netns.ip("address add 192.0.2.2/24 dev eth0")
    assert is_as_it_was(current, netns.path)
    assert not is_as_it_was(replace(current, name="eth1"), netns.path)
    assert not is_as_it_was(replace(current, mtu=1400), netns.path)
    assert not is_as_it_was(replace(current, index=99), netns.path)
    other = ByFamily(IPAddress.parse("192.0.2.99"))
    assert not is_as_it_was(replace(current, addresses=other), netns.path)
    netns.ip("address delete 2001:db8::1/64 dev eth0")
    assert not is_as_it_was(current, netns.path)
