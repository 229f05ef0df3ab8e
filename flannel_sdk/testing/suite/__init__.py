"""The kits as they come: ``pytest --pyargs flannel_sdk.testing.suite --flannel-backend NAME``."""
