"""vxlan holds what the backend kit asks for."""

from collections.abc import Mapping
from typing import ClassVar

import pytest

from flannel_sdk.testing import BackendConformance

pytestmark = pytest.mark.slow


class TestVxlan(BackendConformance):
    backend = "vxlan"


class TestDirectRouting(BackendConformance):
    backend = "vxlan"
    options: ClassVar[Mapping[str, object]] = {"DirectRouting": True, "VNI": 7}
