"""udp holds what the backend kit asks for, in the kernel and in threads of our own."""

from collections.abc import Mapping
from typing import ClassVar

from flannel_sdk.testing import BackendConformance


class TestUdp(BackendConformance):
    backend = "udp"
    memory_kernel = False


class TestUserspace(BackendConformance):
    backend = "udp"
    options: ClassVar[Mapping[str, object]] = {"Datapath": "userspace"}
    memory_kernel = False
    expected_failures: ClassVar[Mapping[str, str]] = {
        "B304": "the packets are carried by threads of the process that stops",
    }
