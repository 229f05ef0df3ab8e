"""The forwarding table: immutable, so that a new one is swapped in under threads that read it."""

from collections.abc import Collection, Mapping
from typing import Self

from flannel_sdk.model import IPAddress, Prefix

Peer = tuple[str, int]
"""Where datagrams for a peer go, as ``socket.sendto`` takes it."""


class Table:
    """Longest-prefix lookup of peers, and the addresses that datagrams may come from."""

    __slots__ = ("_levels", "_peers", "_port", "sources")

    def __init__(self, peers: Mapping[Prefix, IPAddress], port: int) -> None:
        """``peers``: public IP by subnet, IPv4 both."""
        self._peers = peers
        self._port = port
        levels: dict[int, dict[int, Peer]] = {}
        known: dict[IPAddress, Peer] = {}
        for subnet, public_ip in peers.items():
            address, length = subnet
            shift = 32 - length
            peer = known.get(public_ip)
            if peer is None:
                peer = known[public_ip] = (str(public_ip), port)
            levels.setdefault(shift, {})[int.from_bytes(address, "big") >> shift] = peer
        self._levels = tuple(sorted(levels.items()))
        self.sources = frozenset(peer[0] for peer in known.values())
        """The public IPs as text."""

    def find(self, address: int) -> Peer | None:
        """The peer whose subnet holds ``address``; of several the one with the longest prefix."""
        for shift, entries in self._levels:
            peer = entries.get(address >> shift)
            if peer is not None:
                return peer
        return None

    def updated(
        self, changed: Mapping[Prefix, IPAddress], removed: Collection[Prefix], *, full: bool
    ) -> Self:
        """As ``Datapath.update``; itself where nothing differs."""
        peers = {} if full else dict(self._peers)
        for subnet in removed:
            peers.pop(subnet, None)
        peers.update(changed)
        return self if peers == self._peers else type(self)(peers, self._port)
