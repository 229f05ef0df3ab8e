"""One agent a device and namespace: a second would take the first one's peers for stale."""

from collections.abc import Callable

import pytest

from flannel_sdk.dataplane import Ownership
from flannel_sdk.errors import KernelRefused
from flannel_sdk.model import Prefix
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.toolkit import open_kernel

pytestmark = pytest.mark.root
OURS = Ownership(frozenset({"flannel.1"}), ())


async def test_a_device_has_one_session_and_is_free_after_it(netns: Namespace) -> None:
    async with open_kernel(netns.path, OURS):
        with pytest.raises(KernelRefused, match=r"another agent serves flannel\.1"):
            async with open_kernel(netns.path, OURS):
                pass
        async with open_kernel(netns.path, Ownership(frozenset({"flannel.2"}), ())):
            pass
    async with open_kernel(netns.path, OURS):
        pass


async def test_the_same_name_in_another_namespace_is_another_device(
    make_netns: Callable[[str], Namespace],
) -> None:
    async with (
        open_kernel(make_netns("a").path, OURS),
        open_kernel(make_netns("b").path, OURS),
    ):
        pass


async def test_what_was_held_is_free_where_a_later_device_is_not(netns: Namespace) -> None:
    both = Ownership(frozenset({"flannel.0", "flannel.1"}), ())
    async with open_kernel(netns.path, OURS):
        with pytest.raises(KernelRefused):
            async with open_kernel(netns.path, both):
                pass
        async with open_kernel(netns.path, Ownership(frozenset({"flannel.0"}), ())):
            pass


async def test_a_network_without_a_device_of_its_own_has_one_agent_too(netns: Namespace) -> None:
    routes_only = Ownership(frozenset(), (Prefix.parse("10.5.0.0/16"),))
    async with open_kernel(netns.path, routes_only):
        with pytest.raises(KernelRefused, match=r"another agent serves the network 10\.5\.0\.0/16"):
            async with open_kernel(netns.path, routes_only):
                pass
