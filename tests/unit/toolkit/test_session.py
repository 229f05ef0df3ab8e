"""open_kernel: works in its namespace, frees thread and sockets, leaves the data plane."""

import threading
from contextlib import AbstractAsyncContextManager

import pytest

from flannel_sdk.dataplane import Device, Ownership
from flannel_sdk.errors import PermanentError
from flannel_sdk.model import MacAddress
from flannel_sdk.testing.namespaces import Namespace
from flannel_sdk.toolkit import KernelSession, open_kernel

pytestmark = pytest.mark.root
OWNED = Ownership(frozenset({"vxlan7"}), ())
MAC = MacAddress.parse("02:00:00:00:00:07")
DEVICE = Device("vxlan7", "vxlan", 1400, MAC, None, (("vxlan_id", 7), ("vxlan_port", 8472)))


def kernel_threads() -> int:
    return sum(thread.name.startswith("flannel-kernel") for thread in threading.enumerate())


async def test_what_was_made_stays_and_the_thread_ends(netns: Namespace) -> None:
    before = kernel_threads()
    async with open_kernel(netns.path, OWNED) as session:
        await session.reconciler.set_node([DEVICE])
        assert await session.reconciler.device_mac("vxlan7") == MAC
        assert kernel_threads() == before + 1
    assert kernel_threads() == before
    assert "mtu 1400" in netns.ip("link show vxlan7")


async def leave(opened: AbstractAsyncContextManager[KernelSession], error: Exception) -> None:
    async with opened as session:
        await session.reconciler.set_node([DEVICE])
        raise error


async def test_the_thread_ends_after_an_error_too_and_the_error_is_told(netns: Namespace) -> None:
    before = kernel_threads()
    with pytest.raises(ZeroDivisionError):
        await leave(open_kernel(netns.path, OWNED), ZeroDivisionError())
    assert kernel_threads() == before


async def test_a_missing_namespace_is_an_error_at_the_latest_at_first_use() -> None:
    with pytest.raises(PermanentError, match="no network namespace at /run/netns/flt-none"):
        await leave(open_kernel("/run/netns/flt-none", OWNED), ZeroDivisionError())
