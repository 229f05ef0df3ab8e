"""The third-party backend of ``examples/backend`` holds what the backend kit asks for."""

import pytest

from examples.backend.acme_wire import plugin
from flannel_sdk.interfaces import BackendPlugin
from flannel_sdk.testing import BackendConformance


class TestWire(BackendConformance):
    backend = "wire"

    @pytest.fixture
    def backend_plugin(self) -> BackendPlugin:
        return plugin
