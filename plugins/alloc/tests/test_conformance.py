"""alloc holds what the backend kit asks for of a backend without a data plane."""

from flannel_sdk.testing import BackendConformance


class TestAlloc(BackendConformance):
    backend = "alloc"
    dataplane = False
