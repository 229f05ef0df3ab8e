"""For which peers commands were run: kept in memory, and in a file where one is named."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from flannel_sdk.errors import MalformedEntry, RetryableError
from flannel_sdk.model import (
    Lease,
    Subnets,
    decode_attrs,
    encode_attrs,
    format_subnet_key,
    parse_subnet_key,
)

_log = logging.getLogger(__name__)

_SPARE_LINES = 1000
"""The file is written anew when so many more of its lines are outdated than count."""


class PeerMemory:
    """The lease that each peer's last SubnetAddCommand was run for, or begun to be.

    The file has a line for each change: flannel's key of the peer, a blank, and flannel's JSON of
    what it published, or nothing where it was removed. The last line of a key counts.
    """

    def __init__(self, path: Path | None) -> None:
        self.leases: dict[Subnets, Lease] = {}
        self._path = path
        self._lines = 0
        self._is_failing = False

    async def load(self) -> None:
        """Read the file, once; RetryableError if it cannot be read or written."""
        if self._path is not None and not self._lines:
            await asyncio.to_thread(self._guarded, self._load)

    async def keep(self, peer: Subnets, lease: Lease) -> None:
        """Commands are about to be run for this lease."""
        if self.leases.get(peer) != lease:
            self.leases[peer] = lease
            await self._append(f"{format_subnet_key(peer)} {encode_attrs(lease.attrs).decode()}")

    async def drop(self, peer: Subnets) -> None:
        """Nothing is left of this peer."""
        if self.leases.pop(peer, None) is not None:
            await self._append(format_subnet_key(peer))

    async def _append(self, line: str) -> None:
        """A file that cannot be written costs what it is for, and no peer its traffic."""
        if self._path is None:
            return
        self._lines += 1
        try:
            if self._lines > 2 * len(self.leases) + _SPARE_LINES:
                leases = dict(self.leases)
                await asyncio.to_thread(self._guarded, lambda: self._rewrite(leases))
            else:
                await asyncio.to_thread(self._guarded, lambda: self._write(line))
        except RetryableError as error:
            if not self._is_failing:
                _log.warning("%s; the next start may not know which peers are gone", error)
            self._is_failing = True
        else:
            self._is_failing = False

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            raise RetryableError(
                f"Backend.StateFile {self._path} cannot be used: {error.strerror}"
            ) from error

    def _load(self) -> None:
        assert self._path is not None
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            key, _, value = line.partition(" ")
            try:
                peer = parse_subnet_key(key)
                lease = Lease(peer, decode_attrs(value.encode())) if value else None
            except MalformedEntry as error:
                _log.warning("%s: a line is passed over: %s", self._path, error)
                continue
            self.leases.pop(peer, None)
            if lease is not None:
                self.leases[peer] = lease
        self._rewrite(self.leases)

    def _rewrite(self, leases: Mapping[Subnets, Lease]) -> None:
        assert self._path is not None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            for peer, lease in leases.items():
                file.write(f"{format_subnet_key(peer)} {encode_attrs(lease.attrs).decode()}\n")
        fresh.replace(self._path)
        self._lines = len(leases) + 1

    def _write(self, line: str) -> None:
        assert self._path is not None
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        with open(descriptor, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
