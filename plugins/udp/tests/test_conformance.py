"""udp holds what the backend kit asks for, on either data path."""

from collections.abc import Mapping
from typing import ClassVar

from flannel_sdk.testing import BackendConformance


class TestKernelPath(BackendConformance):
    backend = "udp"
    options: ClassVar[Mapping[str, object]] = {"Datapath": "kernel"}
    memory_kernel = False


class TestUserspacePath(BackendConformance):
    backend = "udp"
    options: ClassVar[Mapping[str, object]] = {"Datapath": "userspace"}
    memory_kernel = False
    expected_failures: ClassVar[Mapping[str, str]] = {
        "B304": "what carries the packets is the process, and it is not there meanwhile",
    }
