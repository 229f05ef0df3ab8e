"""The two programs and their maps, loaded: what they know, and what they have counted."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from struct import Struct, pack, pack_into
from typing import Final, NamedTuple

from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk_udp.datapath import Counter
from flannel_sdk_udp.ebpf.elf import Compiled, MapShape, Program, read_object
from flannel_sdk_udp.ebpf.syscall import MapCalls, create_map, load_program, program_id

OBJECT: Final = "tunnel.o"
_MAP_BY_DESCRIPTOR: Final = 1
"""BPF_PSEUDO_MAP_FD, in the high half of the register byte."""
_SETTINGS: Final = Struct("=4s2sHII")
_PREFIX: Final = Struct("=I4s")
_PEER: Final = Struct("=4sHH")
_FIRST: Final = pack("=I", 0)
_POSSIBLE: Final = Path("/sys/devices/system/cpu/possible")


class Settings(NamedTuple):
    """``struct settings`` of tunnel.c."""

    local: IPAddress
    port: int
    link_header: int
    """Bytes before the IP header on the underlay: 14 for Ethernet, 0 where there is none."""
    tunnel: int
    """Interface index of the tunnel device."""
    underlay: int
    """Interface index of the underlay."""


class Target(NamedTuple):
    """``struct peer`` of tunnel.c."""

    address: IPAddress
    carried: bool
    """False: what is for it goes to our own process."""
    mtu: int = 0
    """Bytes of the largest datagram on its route, headers included; 0: no limit of its own."""


class LoadedPrograms:
    """One load of the object; blocking, for one thread at a time.

    The programs keep their maps, and filters keep the programs: closing frees descriptors only.
    """

    def __init__(self) -> None:
        """Load. OSError as the kernel says; ProgramRefused with the verifier's words."""
        compiled = read_object(files(__package__).joinpath(OBJECT).read_bytes())
        self._descriptors: list[int] = []
        try:
            maps = {name: self._make_map(name, shape) for name, shape in compiled.maps.items()}
            self.to_peers: int = self._load("to_peers", compiled, maps)
            """Descriptors of the programs, as are those below."""
            self.from_peers: int = self._load("from_peers", compiled, maps)
        except BaseException:
            self.close()
            raise
        self.ids = {program: program_id(program) for program in (self.to_peers, self.from_peers)}
        processors = possible_processors(_POSSIBLE.read_text())
        self._numbers = Struct(f"={processors}Q")
        self._settings = MapCalls(maps["settings"], 4, _SETTINGS.size)
        self._subnets = MapCalls(maps["subnets"], _PREFIX.size, _PEER.size)
        self._peers = MapCalls(maps["peers"], _PREFIX.size, 4)
        self._counters = MapCalls(maps["counters"], 4, self._numbers.size)
        self._known: dict[Prefix, Target] = {}
        self._uses: dict[IPAddress, int] = {}

    def configure(self, settings: Settings) -> None:
        """Tell the programs where they are."""
        row = settings.local, settings.port.to_bytes(2, "big"), *settings[2:]
        self._settings.update(_FIRST, _SETTINGS.pack(*row))

    def change_peers(self, changed: Mapping[Prefix, Target], removed: set[Prefix]) -> None:
        """Set and remove peers, one entry of a map each; what is as it was costs nothing."""
        for subnet in removed:
            self._remove(subnet)
        for subnet, peer in changed.items():
            if self._known.get(subnet) != peer:
                # In an order that a refusal between two of them (no memory) does not upset.
                self._add_use(peer.address)
                self._subnets.update(_key(subnet), _PEER.pack(*peer))
                self._remove_use(subnet)
                self._known[subnet] = peer

    def replace_peers(self, peers: Mapping[Prefix, Target]) -> None:
        """Know these peers and no others."""
        self.change_peers(peers, self._known.keys() - peers.keys())

    def counters(self) -> dict[Counter, int]:
        """Sums over all processors, since the load."""
        totals = {}
        for counter in Counter:
            row = self._counters.lookup(pack("=I", counter)) or bytes(self._numbers.size)
            totals[counter] = sum(self._numbers.unpack(row))
        return totals

    def close(self) -> None:
        """Free the descriptors; idempotent."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _make_map(self, name: str, shape: MapShape) -> int:
        self._descriptors.append(create_map(name, shape))
        return self._descriptors[-1]

    def _load(self, name: str, compiled: Compiled, maps: Mapping[str, int]) -> int:
        code = _linked(compiled.programs[name], maps)
        self._descriptors.append(load_program(name, code, compiled.license))
        return self._descriptors[-1]

    def _remove(self, subnet: Prefix) -> None:
        if subnet in self._known:
            self._subnets.delete(_key(subnet))
            self._remove_use(subnet)
            del self._known[subnet]

    def _add_use(self, address: IPAddress) -> None:
        count = self._uses.get(address, 0)
        if not count:
            self._peers.update(_key(Prefix(address, 32)), pack("=I", 1))
        self._uses[address] = count + 1

    def _remove_use(self, subnet: Prefix) -> None:
        """One subnet fewer is behind the address that has this one; an address may have several."""
        peer = self._known.get(subnet)
        if peer is None:
            return
        count = self._uses[peer.address] - 1
        self._uses[peer.address] = count
        if not count:
            del self._uses[peer.address]
            self._peers.delete(_key(Prefix(peer.address, 32)))


def _key(subnet: Prefix) -> bytes:
    return _PREFIX.pack(subnet.length, subnet.address)


def _linked(program: Program, maps: Mapping[str, int]) -> bytes:
    code = bytearray(program.code)
    for offset, name in program.maps:
        code[offset + 1] = code[offset + 1] & 0x0F | _MAP_BY_DESCRIPTOR << 4
        pack_into("=i", code, offset + 4, maps[name])
    return bytes(code)


def possible_processors(text: str) -> int:
    """How many numbers a per-processor map holds for an entry, from ``0-3`` or ``0,2-5``."""
    return 1 + max(int(part.rpartition("-")[2]) for part in text.strip().split(","))
