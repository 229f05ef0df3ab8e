"""The messages of the protocol, version 1: JSON objects, one a line (PROTOCOL.md)."""

import json
from collections.abc import Mapping, Sequence

from flannel_sdk.errors import ConfigError, MalformedEntry, PermanentError, RetryableError
from flannel_sdk.interfaces import BackendContext
from flannel_sdk.model import (
    ByFamily,
    Family,
    IPAddress,
    Lease,
    LeaseAttrs,
    NetworkConfig,
    Prefix,
    Subnets,
)

PROTOCOL = 1
"""Raised when an existing program would break."""

Message = Mapping[str, object]
_NAMES = {Family.IPV4: "ipv4", Family.IPV6: "ipv6"}
_LEAST_MTU = {Family.IPV4: 68, Family.IPV6: 1280}


class Garbage(Exception):
    """A line that is no message: what somebody printed where the protocol is spoken."""


def encode(message: Message) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """An object with a ``type``; Garbage for anything else."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Garbage from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Garbage
    return message


def register_message(
    context: BackendContext,
    config: NetworkConfig,
    options: Mapping[str, object],
    lease: Lease | None,
) -> Message:
    """The first that a program gets; ``lease`` is what this network has already."""
    interface = context.interface
    pools = {
        _NAMES[family]: {"network": str(pool.network), "subnet_length": pool.subnet_length}
        for family, pool in config.pools.items_by_family()
    }
    return {
        "type": "register",
        "protocol": PROTOCOL,
        "network": pools,
        "interface": {
            "name": interface.name,
            "index": interface.index,
            "mtu": interface.mtu,
            "addresses": _by_family(interface.addresses),
            "public_ips": _by_family(interface.public_ips),
        },
        "options": options,
        "lease": None if lease is None else lease_object(lease),
    }


def lease_object(lease: Lease) -> Mapping[str, object]:
    """A lease as programs see it; MalformedEntry where its backend data is not JSON."""
    attrs = lease.attrs
    data: dict[str, object] = {}
    for family, text in attrs.backend_data.items_by_family():
        try:
            data[_NAMES[family]] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MalformedEntry("its backend data is not JSON") from error
    return {
        "subnets": subnets_object(lease.subnets),
        "public_ips": _by_family(attrs.public_ips),
        "backend_type": attrs.backend_type,
        "backend_data": data,
    }


def subnets_object(subnets: Subnets) -> Mapping[str, str]:
    """What identifies a peer."""
    return _by_family(subnets)


def _by_family(
    values: ByFamily[IPAddress] | ByFamily[Prefix],
) -> Mapping[str, str]:
    return {_NAMES[family]: str(value) for family, value in values.items_by_family()}


def read_publish(message: Message, public_ips: ByFamily[IPAddress]) -> LeaseAttrs:
    """What the program wants published; PermanentError if it speaks another version."""
    version = message.get("protocol")
    if type(version) is not int:
        raise _unusable(message, "has no protocol that is a number")
    if version != PROTOCOL:
        raise PermanentError(
            f"it speaks version {version} of the protocol and flannel-sdk-exec speaks version"
            f" {PROTOCOL}: upgrade {'it' if version < PROTOCOL else 'flannel-sdk-exec'}"
        )
    backend_type = message.get("backend_type", "exec")
    if not isinstance(backend_type, str) or not backend_type.isprintable():
        raise _unusable(message, "has a backend_type that is no text")
    given = message.get("backend_data", {})
    if not isinstance(given, dict) or not given.keys() <= set(_NAMES.values()):
        raise _unusable(message, "has a backend_data that is no object of ipv4 and ipv6")
    data: ByFamily[str] = ByFamily()
    for family, name in _NAMES.items():
        if given.get(name) is not None and family in public_ips.families:
            text = json.dumps(given[name], separators=(",", ":"))
            data = data.with_value(family, text)
    return LeaseAttrs(public_ips, backend_type, data)


def read_registered(message: Message, context: BackendContext, lease: Lease) -> int:
    """The MTU for pods, in bytes; PermanentError for one that does not fit."""
    mtu = message.get("mtu")
    if type(mtu) is not int:
        raise _unusable(message, "has no mtu that is a number")
    interface = context.interface
    least = max(_LEAST_MTU[family] for family in lease.subnets.families)
    if not least <= mtu <= interface.mtu:
        raise PermanentError(
            f"it says that pods may send {mtu} bytes, but that has to be between {least} and"
            f" {interface.mtu}, which is what {interface.name} carries"
        )
    return mtu


def read_refused(message: Message) -> Sequence[tuple[Subnets, str]]:
    """From an ack: the peers that the program cannot serve, and why."""
    given = message.get("refused", [])
    if not isinstance(given, list):
        raise _unusable(message, "has a refused that is no list")
    found: list[tuple[Subnets, str]] = []
    for entry in given:
        try:
            peer = entry["peer"]
            subnets: Subnets = ByFamily()
            for family, name in _NAMES.items():
                if name in peer:
                    subnets = subnets.with_value(family, Prefix.parse(peer[name]))
            found.append((subnets, shown(str(entry["reason"]))))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _unusable(message, "has a refused entry without a peer or a reason") from error
    return found


def read_error(message: Message) -> PermanentError | RetryableError:
    """What the program says went wrong, as the error to raise; without the program's name."""
    text = shown(str(message.get("message") or "it gives no reason"))
    option = message.get("option")
    if isinstance(option, str):
        return ConfigError(f"Backend.{option}", text)
    if message.get("retryable", True) is False:
        return PermanentError(text)
    return RetryableError(text)


def shown(text: str) -> str:
    """What a program wrote, printable and short enough for a sentence."""
    return "".join(c if c.isprintable() else " " for c in text[:300]).strip()


def _unusable(message: Message, problem: str) -> RetryableError:
    return RetryableError(f"its {message['type']} {problem}")
