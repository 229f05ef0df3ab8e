"""What a node publishes, as the JSON value of its store entry: byte for byte flannel's (3.1)."""

from flannel_sdk.errors import MalformedEntry
from flannel_sdk.model import gojson
from flannel_sdk.model.addresses import ByFamily, IPAddress
from flannel_sdk.model.lease import LeaseAttrs

_NAMES = {
    gojson.folded(name): name
    for name in ("PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data")
}
_MAPPED = b"\0" * 10 + b"\xff\xff"
"""First 12 bytes of an IPv4-mapped IPv6 address."""


def encode_attrs(attrs: LeaseAttrs) -> bytes:
    """The value flanneld would write; MalformedEntry if a piece of backend data is not JSON."""
    public = attrs.public_ips
    parts = [f'"PublicIP":"{public.ipv4 or "0.0.0.0"}"']
    parts.append(f'"PublicIPv6":"{public.ipv6}"' if public.ipv6 else '"PublicIPv6":null')
    if attrs.backend_type:
        parts.append(f'"BackendType":{gojson.quote(attrs.backend_type)}')
    for name, data in zip(("BackendData", "BackendV6Data"), attrs.backend_data, strict=True):
        if data is not None:
            parts.append(f'"{name}":{_embedded(name, data)}')
    return f"{{{','.join(parts)}}}".encode()


def decode_attrs(value: bytes) -> LeaseAttrs:
    """What a node published, in the form of any flannel version; MalformedEntry otherwise.

    A zero address means that there is none. Backend data that is ``null`` means the same.
    """
    try:
        texts: dict[str, str] = {}
        for key, text in gojson.read_members_raw(value):
            name = _NAMES.get(gojson.folded(key))
            # For BackendType alone null leaves what an earlier duplicate said.
            if name is not None and not (name == "BackendType" and text == "null"):
                texts[name] = text
        ipv4 = texts.get("PublicIP")
        ipv6 = texts.get("PublicIPv6", "null")
        return LeaseAttrs(
            ByFamily(
                None if ipv4 is None else _public_ipv4(_string("PublicIP", ipv4)),
                None if ipv6 == "null" else _public_ipv6(_string("PublicIPv6", ipv6)),
            ),
            _string("BackendType", texts.get("BackendType", '""')),
            ByFamily(_data(texts.get("BackendData")), _data(texts.get("BackendV6Data"))),
        )
    except ValueError as error:
        raise MalformedEntry(f"The value is not what a node publishes: {error}.") from error


def _embedded(name: str, data: str) -> str:
    try:
        return gojson.embed(data)
    except ValueError as error:
        raise MalformedEntry(f"The {name} that a backend publishes is wrong: {error}.") from error


def _string(name: str, text: str) -> str:
    value = gojson.plain(gojson.read(text))
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string")
    return value


def _data(text: str | None) -> str | None:
    return None if text == "null" else text


def _public_ipv4(text: str) -> IPAddress | None:
    address = IPAddress.parse(text)
    if address.startswith(_MAPPED):
        address = IPAddress(address[12:])
    if len(address) != 4:
        raise ValueError(f"PublicIP is {text!r} and not an IPv4 address")
    return address if any(address) else None


def _public_ipv6(text: str) -> IPAddress | None:
    address = IPAddress.parse(text)
    if len(address) == 4:
        address = IPAddress(_MAPPED + address)
    return address if any(address) else None
