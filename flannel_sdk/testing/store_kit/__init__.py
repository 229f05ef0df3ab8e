"""The conformance kit for stores."""

from flannel_sdk.testing.store_kit.conformance import SubnetManagerConformance
from flannel_sdk.testing.store_kit.harness import (
    CanBreak,
    CanCount,
    CanDamage,
    CanExpire,
    CanForget,
    CanGiveAway,
    CanReserve,
    CanTakeAway,
    OpenHarness,
    StoreHarness,
)

__all__ = [
    "CanBreak",
    "CanCount",
    "CanDamage",
    "CanExpire",
    "CanForget",
    "CanGiveAway",
    "CanReserve",
    "CanTakeAway",
    "OpenHarness",
    "StoreHarness",
    "SubnetManagerConformance",
]
