"""Rules as nf_tables expressions, byte for byte as the kernel gives them back."""

import sys
from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.rules import KUBE_PROXY_MARK, Rule
from flannel_sdk.model import Family, Prefix
from flannel_sdk.netlink.messages import ATTRIBUTE, attribute

_BIG: Final = Struct(">I")
_BIG_SIGNED: Final = Struct(">i")
_OFFSETS: Final = {Family.IPV4: (12, 16), Family.IPV6: (8, 24)}
"""Where the source and the destination stand in a packet's header."""
_VERDICTS: Final = {"return": n.NFT_RETURN, "accept": n.NF_ACCEPT, "jump": n.NFT_JUMP}


def big(kind: int, value: int) -> bytes:
    """One attribute of 32 bits, big end first, as all of nf_tables' are."""
    return attribute(kind, _BIG.pack(value))


def text(kind: int, value: str) -> bytes:
    """One attribute that is a string with its end."""
    return attribute(kind, value.encode() + b"\0")


def encode_rule(rule: Rule, *, fully_random: bool = False, both_families: bool = True) -> bytes:
    """The expressions of one rule, in a table that has both families or one of its own."""
    parts: list[bytes] = []
    if rule.marked:
        parts += _mark()
    family = next((p.family for p in (rule.source, rule.destination) if p is not None), None)
    if family is not None:
        if both_families:
            parts += [_meta(n.NFT_META_NFPROTO), _compare(bytes([family]))]
        source, destination = _OFFSETS[family]
        if rule.source is not None:
            parts += _address(source, rule.source, rule.not_source)
        if rule.destination is not None:
            parts += _address(destination, rule.destination, rule.not_destination)
    parts.append(_masquerade(fully_random) if rule.action == "masquerade" else _verdict(rule))
    return b"".join(parts)


def _expression(name: str, data: bytes) -> bytes:
    return attribute(
        n.NFTA_LIST_ELEM, text(n.NFTA_EXPR_NAME, name) + attribute(n.NFTA_EXPR_DATA, data)
    )


def _value(kind: int, data: bytes) -> bytes:
    return attribute(kind, attribute(n.NFTA_DATA_VALUE, data))


def _meta(key: int) -> bytes:
    return _expression("meta", big(n.NFTA_META_KEY, key) + big(n.NFTA_META_DREG, n.NFT_REG_1))


def _compare(data: bytes, *, differs: bool = False) -> bytes:
    return _expression(
        "cmp",
        big(n.NFTA_CMP_SREG, n.NFT_REG_1)
        + big(n.NFTA_CMP_OP, n.NFT_CMP_NEQ if differs else n.NFT_CMP_EQ)
        + _value(n.NFTA_CMP_DATA, data),
    )


def _mask(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        big(n.NFTA_BITWISE_SREG, n.NFT_REG_1)
        + big(n.NFTA_BITWISE_DREG, n.NFT_REG_1)
        + big(n.NFTA_BITWISE_LEN, len(mask))
        + big(n.NFTA_BITWISE_OP, 0)
        + _value(n.NFTA_BITWISE_MASK, mask)
        + _value(n.NFTA_BITWISE_XOR, bytes(len(mask))),
    )


def _mark() -> list[bytes]:
    mark = KUBE_PROXY_MARK.to_bytes(4, sys.byteorder)
    return [_meta(n.NFT_META_MARK), _mask(mark), _compare(mark)]


def _address(offset: int, prefix: Prefix, differs: bool) -> list[bytes]:
    address = prefix.masked().address
    load = _expression(
        "payload",
        big(n.NFTA_PAYLOAD_DREG, n.NFT_REG_1)
        + big(n.NFTA_PAYLOAD_BASE, n.NFT_PAYLOAD_NETWORK_HEADER)
        + big(n.NFTA_PAYLOAD_OFFSET, offset)
        + big(n.NFTA_PAYLOAD_LEN, len(address)),
    )
    compare = _compare(bytes(address), differs=differs)
    if prefix.length == len(address) * 8:
        return [load, compare]
    return [load, _mask(mask_bytes(prefix.length, len(address))), compare]


def mask_bytes(length: int, size: int) -> bytes:
    """The mask of a prefix length, for addresses of ``size`` bytes."""
    bits = size * 8
    return ((1 << bits) - (1 << bits - length)).to_bytes(size, "big")


def _masquerade(fully_random: bool) -> bytes:
    flags = big(n.NFTA_MASQ_FLAGS, n.NF_NAT_RANGE_PROTO_RANDOM_FULLY) if fully_random else b""
    return _expression("masq", flags)


def _verdict(rule: Rule) -> bytes:
    verdict = attribute(n.NFTA_VERDICT_CODE, _BIG_SIGNED.pack(_VERDICTS[rule.action]))
    if rule.chain:
        verdict += text(n.NFTA_VERDICT_CHAIN, rule.chain)
    return _expression(
        "immediate",
        big(n.NFTA_IMMEDIATE_DREG, n.NFT_REG_VERDICT)
        + attribute(n.NFTA_IMMEDIATE_DATA, attribute(n.NFTA_DATA_VERDICT, verdict)),
    )


class Attribute(NamedTuple):
    """One attribute of a kind that may come more than once."""

    kind: int
    payload: bytes


def each_attribute(data: bytes) -> Iterator[Attribute]:
    """The attributes in order; garbage ends the walk."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4 or offset + length > len(data):
            return
        yield Attribute(kind & 0x3FFF, data[offset + 4 : offset + length])
        offset += length + 3 & ~3
