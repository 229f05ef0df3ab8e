"""Durations counted in fixed buckets: measuring costs well under a microsecond, whoever reads."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

KERNEL_SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 5)
"""Bounds for what the kernel of this machine answers."""

STORE_SECONDS = (1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Bounds for what a server answers, and for what waits for both."""


class Histogram:
    """How many durations fell into each bucket. One thread adds, any may read."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds``: the greatest duration of each bucket in seconds, ascending."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def status(self) -> Mapping[str, object]:
        """JSON-ready: ``counts`` has one number a bucket and a last one for all that is longer."""
        return {"bounds": list(self._bounds), "counts": list(self._counts), "sum": self._sum}
