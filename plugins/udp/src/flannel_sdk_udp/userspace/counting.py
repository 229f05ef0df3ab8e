"""Counters of one forwarding thread: written by it alone, read by anybody."""

from flannel_sdk_udp.datapath import Counter

Counts = list[int]
"""By ``Counter``."""


def no_counts() -> Counts:
    """All zero."""
    return [0] * len(Counter)
