"""The backend kit for the backend that ``--flannel-backend`` names."""

from flannel_sdk.testing.backend_kit import BackendConformance


class TestBackend(BackendConformance):
    """Everything as it comes."""
