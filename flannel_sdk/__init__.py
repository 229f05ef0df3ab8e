"""flannel_sdk: an SDK and agent for container overlay networks, compatible with flannel."""

__version__ = "0.1.0"
