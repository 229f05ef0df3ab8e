"""The name of a lease in the store: ``10.5.34.0-24``, ``10.5.34.0-24&fc00:0:0:7::-64`` (4.1)."""

import re
from socket import AF_INET, inet_pton

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model.addresses import ByFamily, IPAddress, Prefix
from flannel_sdk.model.lease import Subnets

_NO_IPV4 = "0.0.0.0-0"
"""What flannel writes in the place of the IPv4 part of a lease that has none."""

_KEY = re.compile(
    r"(?P<ipv4>[0-9.]+)-(?P<length4>0|[1-9][0-9]?)"
    r"(?:&(?P<ipv6>[0-9a-f:]+)-(?P<length6>[1-9][0-9]{0,2}))?"
)


def format_subnet_key(subnets: Subnets) -> str:
    """The key of a lease; ValueError if it has no subnet, or one with host bits."""
    parts = []
    for _, prefix in subnets.items_by_family():
        if not prefix.is_network or not prefix.length:
            raise ValueError(f"{prefix} is not a subnet")
        parts.append(f"{prefix.address}-{prefix.length}")
    if not parts:
        raise ValueError("a lease needs a subnet")
    if subnets.ipv4 is None:
        parts.insert(0, _NO_IPV4)
    return "&".join(parts)


def parse_subnet_key(text: str) -> Subnets:
    """The subnets that a key names, or MalformedEntry.

    Exactly the keys of ``format_subnet_key``: each subnet has one name only, so that two entries
    never mean the same one.
    """
    match = _KEY.fullmatch(text)
    if match is None:
        raise MalformedEntry(f"{text!r} is not the key of a lease.")
    ipv4_text, length4, ipv6_text, length6 = match.groups()
    try:
        if ipv6_text is None:
            # All keys are read when a node joins: this is a quarter of what _part takes.
            packed, length = inet_pton(AF_INET, ipv4_text), int(length4)
            if 0 < length <= 32 and not int.from_bytes(packed, "big") << length & 0xFFFFFFFF:
                return ByFamily(Prefix(IPAddress(packed), length))
        ipv4 = None
        if ipv6_text is None or f"{ipv4_text}-{length4}" != _NO_IPV4:
            ipv4 = _part(ipv4_text, length4)
        return ByFamily(ipv4, _part(ipv6_text, length6) if ipv6_text is not None else None)
    except (ValueError, OSError) as error:
        raise MalformedEntry(f"{text!r} is not the key of a lease: {error}.") from error


def _part(address_text: str, length_text: str) -> Prefix:
    prefix = Prefix(IPAddress.parse(address_text), int(length_text))
    if not 0 < prefix.length <= prefix.family.bits:
        raise ValueError(f"the prefix length {length_text} is out of range")
    if not prefix.is_network:
        raise ValueError(f"{prefix} has host bits")
    if str(prefix.address) != address_text:
        raise ValueError(f"{address_text} is written {prefix.address}")
    return prefix
