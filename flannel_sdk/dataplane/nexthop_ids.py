"""Which nexthop id belongs to which route: one each, kept while the route is wanted."""

from collections.abc import Container, Iterator, Mapping
from itertools import count

from flannel_sdk.dataplane.requests import RouteKey, RouteTarget, Via


class NexthopIds:
    """Ids of one range, by destination; adopted from the kernel at start."""

    def __init__(self, ids: range) -> None:
        self.range = ids
        self.by_route: dict[RouteKey, int] = {}
        self.routes: dict[int, RouteKey] = {}
        self.foreign: set[int] = set()
        """Ids of our range that somebody else has taken."""
        self.used_by_others: set[int] = set()
        """Ids of ours that somebody else's route uses: never deleted."""
        self._next: Iterator[int] = count(ids.start)
        self._free: list[int] = []

    def adopt(self, routes: Mapping[RouteKey, RouteTarget], rows: Mapping[int, Via]) -> None:
        """Take over what an earlier run chose; later ids avoid every row there is."""
        for key, target in routes.items():
            if target.__class__ is int and target in rows and target not in self.routes:
                self.by_route.setdefault(key, target)
                if self.by_route[key] == target:
                    self.routes[target] = key
        if rows:
            self._next = count(max(rows) + 1)

    def take(self, key: RouteKey) -> int:
        """The id of a route, a new one if it has none."""
        known = self.by_route.get(key)
        if known is not None:
            return known
        chosen = self._free.pop() if self._free else next(self._next)
        while chosen in self.foreign or chosen in self.routes or chosen not in self.range:
            if chosen >= self.range.stop:
                self._next = count(self.range.start)
            chosen = next(self._next)
        self.by_route[key] = chosen
        self.routes[chosen] = key
        return chosen

    def release(self, key: RouteKey) -> int | None:
        """Give the id of a route back for others; None if it has none."""
        freed = self.by_route.pop(key, None)
        if freed is not None:
            del self.routes[freed]
            if freed not in self.used_by_others:
                self._free.append(freed)
        return freed

    def retain(self, wanted: Container[RouteKey]) -> None:
        """Release every route that is not wanted."""
        for key in [key for key in self.by_route if key not in wanted]:
            self.release(key)

    def lose(self, lost: int) -> RouteKey | None:
        """Note that somebody else has taken an id; the route under it needs another."""
        self.foreign.add(lost)
        key = self.routes.pop(lost, None)
        if key is not None:
            del self.by_route[key]
        return key
