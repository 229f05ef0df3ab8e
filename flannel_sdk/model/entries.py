"""Store entries to leases, one by one or all of a snapshot: the hot path of a start.

The layout that flannel and we write is matched by one regular expression; whatever differs from it
goes through ``subnet_key`` and ``lease_json``, which give the same result and are the reference.
"""

import re
from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Final, cast

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
    r"(?:0\.0\.0\.0-0|(\d[\d.]*)-([1-9]\d?))(?:&([\da-f:]+)-([1-9]\d{0,2}))?"
    r'\n\{"PublicIP":"(?:0\.0\.0\.0|(\d[\d.]*))"(?:,"PublicIPv6":(?:null|"([\da-f:]+)"))?'
    r'(?:,"BackendType":"([\w-]*)")?'
    rf'(?:,"BackendData":({_DATA}))?(?:,"BackendV6Data":({_DATA}))?\}}',
    re.ASCII,
)
_ZERO: Final = bytes(16)
_ALL_ONES: Final = (1 << 128) - 1
_NO_DATA: Final[ByFamily[str]] = ByFamily()

_new_address, _new_tuple, _new_object = bytes.__new__, tuple.__new__, object.__new__


def _setter(owner: type, field: str) -> Callable[[object, object], None]:
    """What fills a slot of a frozen dataclass."""
    return cast("Callable[[object, object], None]", owner.__dict__[field].__set__)


_set_subnets, _set_attrs = _setter(Lease, "subnets"), _setter(Lease, "attrs")
_set_expires_at, _set_revision = _setter(Lease, "expires_at"), _setter(Lease, "revision")
_set_public_ips = _setter(LeaseAttrs, "public_ips")
_set_backend_type = _setter(LeaseAttrs, "backend_type")
_set_backend_data = _setter(LeaseAttrs, "backend_data")


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
    for key, value, expires_at, revision in rows:
        lease = match_usual_layout(key, value, expires_at, revision)
        if lease is None:
            try:
                lease = Lease(parse_subnet_key(key), decode_attrs(value), expires_at, revision)
            except MalformedEntry as error:
                malformed.append(Malformed(key, str(error)))
                continue
        leases.append(lease)
    return leases, malformed


def match_usual_layout(
    key: str, value: bytes, expires_at: float | None, revision: int
) -> Lease | None:
    """The lease of an entry in the usual layout; None where only the general path can decide."""
    try:
        found = _ENTRY.fullmatch(f"{key}\n{value.decode('ascii')}")
        return _from_groups(found.groups(), expires_at, revision) if found else None
    except (ValueError, OSError):
        return None


def _from_groups(
    groups: tuple[str | None, ...], expires_at: float | None, revision: int
) -> Lease | None:
    """The lease of the usual layout; None where only the general path can decide.

    What every lease has is made by the bare constructors of its types, past their keyword handling
    and their frozen ``__setattr__``: that halves the cost of an entry.
    """
    ipv4, length4, ipv6, length6, public4, public6, backend_type, data4, data6 = groups
    subnet4 = subnet6 = public_ip4 = public_ip6 = None
    if ipv4 is not None and length4 is not None:
        base4 = _new_address(IPAddress, inet_pton(AF_INET, ipv4))
        bits4 = int(length4)
        if bits4 > 32 or int.from_bytes(base4, "big") << bits4 & 0xFFFFFFFF:
            return None
        subnet4 = _new_tuple(Prefix, (base4, bits4))
    elif ipv6 is None:
        return None
    if ipv6 is not None and length6 is not None:
        subnet6 = _ipv6_subnet(ipv6, int(length6))
        if subnet6 is None:
            return None
    if public4 is not None:
        public_ip4 = _new_address(IPAddress, inet_pton(AF_INET, public4))
    if public6 is not None:
        public_ip6 = _new_address(IPAddress, inet_pton(AF_INET6, public6))
        if public_ip6 == _ZERO:
            return None
    attrs = _new_object(LeaseAttrs)
    _set_public_ips(attrs, _new_tuple(ByFamily, (public_ip4, public_ip6)))
    _set_backend_type(attrs, backend_type or "")
    _set_backend_data(
        attrs,
        _NO_DATA if data4 is None and data6 is None else _new_tuple(ByFamily, (data4, data6)),
    )
    lease = _new_object(Lease)
    _set_subnets(lease, _new_tuple(ByFamily, (subnet4, subnet6)))
    _set_attrs(lease, attrs)
    _set_expires_at(lease, expires_at)
    _set_revision(lease, revision)
    return lease


def _ipv6_subnet(text: str, bits: int) -> Prefix | None:
    base = _new_address(IPAddress, inet_pton(AF_INET6, text))
    if (
        bits > 128
        or int.from_bytes(base, "big") << bits & _ALL_ONES
        or inet_ntop(AF_INET6, base) != text
    ):
        return None
    return _new_tuple(Prefix, (base, bits))
