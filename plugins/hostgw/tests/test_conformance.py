"""host-gw holds what the backend kit asks for."""

from flannel_sdk.testing import BackendConformance


class TestHostGw(BackendConformance):
    backend = "host-gw"
