"""Store entries to leases, one by one or all of a snapshot: the hot path of a start.

The layout that flannel and we write is matched by one regular expression; whatever differs from it
goes through ``subnet_key`` and ``lease_json``, which give the same result and are the reference.
"""

import re
from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model.addresses import ByFamily, IPAddress, Prefix
from flannel_sdk.model.lease import Lease, LeaseAttrs, Malformed
from flannel_sdk.model.lease_json import decode_attrs
from flannel_sdk.model.subnet_key import parse_subnet_key

Row = tuple[str, bytes, float | None, int]
"""Key below ``subnets/``, value, expiry (Unix time in seconds, None for never), revision."""

_DATA = (
    r'(?:"[\w+/=:. -]*"'
    r'|\{"\w+":(?:"[\w+/=:. -]*"|0|[1-9]\d{0,17})(?:,"\w+":(?:"[\w+/=:. -]*"|0|[1-9]\d{0,17}))*\})'
)
_ENTRY: Final = re.compile(
    r"(\d[\d.]*)-([1-9]\d?)(?:&([\da-f:]+)-([1-9]\d{0,2}))?"
    r'\n\{"PublicIP":"(\d[\d.]*)"(?:,"PublicIPv6":(?:null|"([\da-f:]+)"))?'
    r'(?:,"BackendType":"([\w-]*)")?'
    rf'(?:,"BackendData":({_DATA}))?(?:,"BackendV6Data":({_DATA}))?\}}',
    re.ASCII,
)
_ALL_ONES: Final = (1 << 128) - 1
_NO_DATA: Final[ByFamily[str]] = ByFamily()


def decode_entry(
    key: str, value: bytes, expires_at: float | None = None, revision: int = 0
) -> Lease:
    """The lease that an entry describes; MalformedEntry if its key or its value is none."""
    leases, malformed = decode_entries([(key, value, expires_at, revision)])
    if malformed:
        raise MalformedEntry(malformed[0].reason)
    return leases[0]


def decode_entries(rows: Iterable[Row]) -> tuple[list[Lease], list[Malformed]]:
    """The leases of many entries, in their order, and the entries that are none."""
    leases: list[Lease] = []
    malformed: list[Malformed] = []
    match = _ENTRY.fullmatch
    for key, value, expires_at, revision in rows:
        try:
            found = match(f"{key}\n{value.decode('ascii')}")
            lease = _from_match(found.groups(), expires_at, revision) if found else None
        except (ValueError, OSError):
            lease = None
        if lease is None:
            try:
                lease = Lease(parse_subnet_key(key), decode_attrs(value), expires_at, revision)
            except MalformedEntry as error:
                malformed.append(Malformed(key, str(error)))
                continue
        leases.append(lease)
    return leases, malformed


def _from_match(
    groups: tuple[str | None, ...], expires_at: float | None, revision: int
) -> Lease | None:
    """The lease of the usual layout; None where only the general path can decide."""
    ipv4, length4, ipv6, length6, public4, public6, backend_type, data4, data6 = groups
    if ipv4 is None or length4 is None or public4 is None:
        return None
    base4 = IPAddress(inet_pton(AF_INET, ipv4))
    bits4 = int(length4)
    if bits4 > 32 or int.from_bytes(base4, "big") << bits4 & 0xFFFFFFFF:
        return None
    subnet6 = None
    if ipv6 is not None and length6 is not None:
        base6 = IPAddress(inet_pton(AF_INET6, ipv6))
        bits6 = int(length6)
        if bits6 > 128 or int.from_bytes(base6, "big") << bits6 & _ALL_ONES or str(base6) != ipv6:
            return None
        subnet6 = Prefix(base6, bits6)
    public_ip4 = None if public4 == "0.0.0.0" else IPAddress(inet_pton(AF_INET, public4))
    public_ip6 = None
    if public6 is not None and public6 != "::":
        public_ip6 = IPAddress(inet_pton(AF_INET6, public6))
        if not any(public_ip6):
            return None
    return Lease(
        ByFamily(Prefix(base4, bits4), subnet6),
        LeaseAttrs(
            ByFamily(public_ip4, public_ip6),
            backend_type or "",
            _NO_DATA if data4 is None and data6 is None else ByFamily(data4, data6),
        ),
        expires_at,
        revision,
    )
