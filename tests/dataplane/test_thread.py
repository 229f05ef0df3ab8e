"""The kernel thread lives in its namespace, and the process's other threads do not."""

import os

import pytest

from flannel_sdk.dataplane import LinuxKernel
from flannel_sdk.errors import PermanentError
from flannel_sdk.testing.namespaces import Namespace

pytestmark = pytest.mark.root


async def test_it_sees_the_devices_of_its_namespace_only(netns: Namespace) -> None:
    netns.add_veth("only-here0")
    before = os.readlink("/proc/self/ns/net")
    kernel = LinuxKernel(netns.path)
    link = await kernel.link("only-here0")
    assert link is not None
    assert link.up
    assert await kernel.link("absent0") is None
    assert os.readlink("/proc/self/ns/net") == before
    await kernel.aclose()
    await kernel.aclose()


async def test_a_missing_namespace_is_one_sentence() -> None:
    kernel = LinuxKernel("/run/netns/flt-absent")
    with pytest.raises(PermanentError, match="no network namespace at"):
        await kernel.link("lo")
    await kernel.aclose()
