"""The store kit for the store that ``--flannel-subnet-manager`` names."""

from flannel_sdk.testing.store_kit import SubnetManagerConformance


class TestSubnetManager(SubnetManagerConformance):
    """Everything as it comes."""
