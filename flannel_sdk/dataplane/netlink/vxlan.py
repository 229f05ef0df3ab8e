"""The attributes of vxlan devices, under pyroute2's short names, both ways."""

import socket
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from flannel_sdk.model import IPAddress
from flannel_sdk.netlink.messages import attribute, attributes, number


class _Form(NamedTuple):
    decode: Callable[[bytes], object]
    encode: Callable[[object], bytes | None]
    """None leaves the attribute out."""


def _integer(value: object) -> int:
    if isinstance(value, int):
        return value
    raise ValueError(f"{value!r} is not a number")


def _text(payload: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(payload) == 4 else socket.AF_INET6, payload)


def _packed(value: object) -> bytes:
    return bytes(value) if isinstance(value, IPAddress) else bytes(IPAddress.parse(str(value)))


_ORDER: Final = sys.byteorder
_BYTE: Final = _Form(number, lambda value: _integer(value).to_bytes(1, _ORDER))
_WORD: Final = _Form(number, lambda value: _integer(value).to_bytes(4, _ORDER))
_PORT: Final = _Form(
    lambda payload: int.from_bytes(payload, "big"),
    lambda value: _integer(value).to_bytes(2, "big"),
)
_ADDRESS: Final = _Form(_text, _packed)
_FLAG: Final = _Form(lambda _: True, lambda value: b"" if value else None)

_FORMS: Final[dict[int, tuple[str, _Form]]] = {
    1: ("vxlan_id", _WORD),
    2: ("vxlan_group", _ADDRESS),
    3: ("vxlan_link", _WORD),
    4: ("vxlan_local", _ADDRESS),
    5: ("vxlan_ttl", _BYTE),
    6: ("vxlan_tos", _BYTE),
    7: ("vxlan_learning", _BYTE),
    8: ("vxlan_ageing", _WORD),
    9: ("vxlan_limit", _WORD),
    11: ("vxlan_proxy", _BYTE),
    12: ("vxlan_rsc", _BYTE),
    13: ("vxlan_l2miss", _BYTE),
    14: ("vxlan_l3miss", _BYTE),
    15: ("vxlan_port", _PORT),
    16: ("vxlan_group6", _ADDRESS),
    17: ("vxlan_local6", _ADDRESS),
    18: ("vxlan_udp_csum", _BYTE),
    19: ("vxlan_udp_zero_csum6_tx", _BYTE),
    20: ("vxlan_udp_zero_csum6_rx", _BYTE),
    23: ("vxlan_gbp", _FLAG),
    25: ("vxlan_collect_metadata", _BYTE),
}
_NUMBERS: Final = {name: kind for kind, (name, _) in _FORMS.items()}


def decode_vxlan(payload: bytes) -> dict[str, object]:
    """The attributes that are known, by name; addresses as text."""
    return {
        _FORMS[kind][0]: _FORMS[kind][1].decode(raw)
        for kind, raw in attributes(payload, 0, len(payload)).items()
        if kind in _FORMS
    }


def encode_vxlan(values: dict[str, object]) -> bytes:
    """The attributes in the kernel's form; ValueError for an unknown name or a wrong value."""
    encoded = b""
    for name, value in values.items():
        if name not in _NUMBERS:
            raise ValueError(f"{name} is not an attribute of vxlan devices")
        payload = None if value is None else _FORMS[_NUMBERS[name]][1].encode(value)
        if payload is not None:
            encoded += attribute(_NUMBERS[name], payload)
    return encoded
