"""The fixtures of all tests, for those of the plugins too."""

from tests.conftest import (
    _namespaces_work,
    _no_task_left,
    _private_cache,
    make_netns,
    netns,
    nothing_left_behind,
    pytest_collection_modifyitems,
)

__all__ = [
    "_namespaces_work",
    "_no_task_left",
    "_private_cache",
    "make_netns",
    "netns",
    "nothing_left_behind",
    "pytest_collection_modifyitems",
]
