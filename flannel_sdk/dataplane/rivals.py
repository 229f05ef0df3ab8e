"""Routes of others to destinations that we may want: what is in the way of ours."""

from collections.abc import Container, Iterable

from flannel_sdk.dataplane.metrics import BLACKHOLE_METRIC
from flannel_sdk.dataplane.ownership import ROUTE_PROTOCOL
from flannel_sdk.dataplane.requests import DROPPING, MAIN_TABLE, RouteKey, StrayRoute

_PROTOCOL_KERNEL = 2
_IPV6_DEFAULT = 1024


def in_the_way(route: StrayRoute, metric: int, own: Container[int]) -> bool:
    """True if a route must not stand beside ours of that metric to the same destination.

    It wins over ours, or it is of our protocol or on a device of ours. The kernel's own routes
    never are, and a route of somebody else that would lose stays. One of our protocol and metric
    is in our very slot: ours replaces it, and its removal would hit ours. A blackhole is
    there to lose: only others are in its way, such as flanneld's, which would win over a bridge.
    """
    if route.protocol == _PROTOCOL_KERNEL or route.table != MAIN_TABLE or route.tos:
        return False
    if route.protocol == ROUTE_PROTOCOL:
        return route.metric != metric
    if metric == BLACKHOLE_METRIC:
        return route.type == DROPPING
    size = len(route.address)
    return _effective(route.metric, size) <= _effective(metric, size) or route.ifindex in own


def _effective(metric: int, size: int) -> int:
    return metric or (_IPV6_DEFAULT if size == 16 else 0)


class Rivals:
    """The routes of the main table that we did not write, as far as dumps and notices told.

    Some may be gone already: they may be removed again without harm.
    """

    def __init__(self) -> None:
        self.by_destination: dict[RouteKey, set[StrayRoute]] = {}

    def clear(self) -> None:
        """Forget all; done before everything is read, so that no notice meanwhile is lost."""
        self.by_destination.clear()

    def add(self, routes: Iterable[StrayRoute]) -> None:
        """Take what was read."""
        for route in routes:
            self.note(route, present=True)

    def note(self, route: StrayRoute, *, present: bool) -> None:
        """Take what a notice told."""
        if route.table != MAIN_TABLE or route.tos or route.protocol == _PROTOCOL_KERNEL:
            return
        key = route.address, route.length
        known = self.by_destination.get(key)
        if present:
            if known is None:
                self.by_destination[key] = {route}
            else:
                known.add(route)
        elif known is not None:
            known.discard(route)
            if not known:
                del self.by_destination[key]

    def of(self, key: RouteKey, metric: int, own: Container[int]) -> list[StrayRoute]:
        """What is in the way of our route of that metric to a destination."""
        known = self.by_destination.get(key)
        if known is None:
            return []
        return sorted(
            (route for route in known if in_the_way(route, metric, own)),
            key=lambda route: (route.metric, route.protocol, route.ifindex),
        )
