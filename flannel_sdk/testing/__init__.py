"""The conformance kits for plugin authors, and what tests of this project and of plugins share.

Nothing is imported until it is asked for: pytest loads this package in each project that has it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.testing.backend_kit import BackendConformance
    from flannel_sdk.testing.store_kit import SubnetManagerConformance

__all__ = ["BackendConformance", "SubnetManagerConformance"]

_PLACES = {
    "BackendConformance": "flannel_sdk.testing.backend_kit",
    "SubnetManagerConformance": "flannel_sdk.testing.store_kit",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(place), name)
