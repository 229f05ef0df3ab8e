"""The conformance kit for backends."""

from flannel_sdk.testing.backend_kit.conformance import BackendConformance

__all__ = ["BackendConformance"]
