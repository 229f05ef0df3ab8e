"""Histograms: which bucket a duration falls into."""

from flannel_sdk.instruments import KERNEL_SECONDS, STORE_SECONDS, Histogram


def test_a_bound_belongs_to_its_bucket_and_what_is_longer_to_the_last() -> None:
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.11, 1.0, 1.5, 100.0):
        histogram.observe(seconds)
    assert histogram.status() == {"bounds": [0.1, 1.0], "counts": [2, 2, 2], "sum": 102.71}


def test_bounds_ascend() -> None:
    for bounds in (KERNEL_SECONDS, STORE_SECONDS):
        assert list(bounds) == sorted(set(bounds))
