"""Median and 99th percentile, as all tables show latencies."""

import statistics

Percentiles = tuple[float, float]


def percentiles(seconds: list[float]) -> Percentiles:
    """Median and 99th percentile in ms."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3
