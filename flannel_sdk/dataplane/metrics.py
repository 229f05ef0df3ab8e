"""The metric of a route: an IPv4 route with a gateway gets one of its own, from its destination."""

from flannel_sdk.dataplane.objects import BLACKHOLE, Route

_SPREAD = 0x10000
BLACKHOLE_METRIC = 0x7FFFFFFF
"""Worse than that of any route which somebody makes on purpose: a bridge with our subnet goes
first, and nobody is told that there is a route already (D32)."""


def metric_of(address: bytes, length: int) -> int:
    """1 to 65536, from the packed destination alone: the number of the subnet, folded to 16 bits.

    The kernel finds equal next hops of IPv4 by a hash that leaves out the gateway, so that routes
    over one device with a gateway each all fall into one bucket, and each new one is compared with
    all before it: quadratic. The metric is part of that hash. Neighbouring subnets get metrics
    that all differ, and a restart finds the same ones without any memory of them.
    """
    number = int.from_bytes(address, "big") >> (32 - length)
    return (number ^ number >> 16) % _SPREAD + 1


def route_metric(route: Route) -> int:
    """The metric that a route is written with; 0 for the family's default."""
    destination, device, gateway, _, metric = route
    if device == BLACKHOLE:
        return BLACKHOLE_METRIC
    address, length = destination
    if metric or gateway is None or len(address) != 4:
        return metric
    return metric_of(address, length)
