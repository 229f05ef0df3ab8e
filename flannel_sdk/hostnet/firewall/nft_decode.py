"""nf_tables expressions read back as rules: flannel's own, and those that iptables-nft writes."""

from dataclasses import dataclass, field
from typing import Final

from flannel_sdk.hostnet.firewall import nft_numbers as n
from flannel_sdk.hostnet.firewall.flannel_chains import SeenRule
from flannel_sdk.hostnet.firewall.nft_expressions import each_attribute
from flannel_sdk.hostnet.firewall.rules import KUBE_PROXY_MARK, Action, Rule
from flannel_sdk.model import Family, IPAddress, Prefix
from flannel_sdk.netlink.messages import attributes, number

_VERDICTS: Final[dict[int, Action]] = {
    n.NF_ACCEPT: "accept",
    n.NFT_RETURN: "return",
    n.NFT_JUMP: "jump",
}
_IGNORED: Final = {"counter"}
_XT_MATCHES: Final = {"comment", "mark"}
_FIELDS: Final = {
    (Family.IPV4, 12): "source",
    (Family.IPV4, 16): "destination",
    (Family.IPV6, 8): "source",
    (Family.IPV6, 24): "destination",
}


def decode_rule(expressions: bytes, family: Family, handle: int = 0) -> SeenRule:
    """The rule in a table of one family."""
    reading = _Reading(family)
    for element in each_attribute(expressions):
        parts = attributes(element.payload, 0, len(element.payload))
        name = parts.get(n.NFTA_EXPR_NAME, b"").rstrip(b"\0").decode(errors="replace")
        data = parts.get(n.NFTA_EXPR_DATA, b"")
        if not reading.take(name, attributes(data, 0, len(data))):
            return SeenRule(None, handle=handle)
    rule = reading.rule if reading.complete else None
    return SeenRule(rule, reading.fully_random, handle=handle)


@dataclass(slots=True)
class _Reading:
    """What the expressions so far say; ``rule`` counts once a verdict came."""

    family: Family
    rule: Rule = field(default=Rule("accept"))
    complete: bool = False
    fully_random: bool | None = None
    _loaded: str = ""
    """Field of ``Rule`` that the register holds a part of, or ``mark``."""
    _length: int = 0
    """Bytes of it."""
    _mask: bytes | None = None

    def take(self, name: str, data: dict[int, bytes]) -> bool:
        """Read one expression; False if it is not of a known rule."""
        if name in _IGNORED:
            return True
        if name == "match":
            match = data.get(n.NFTA_TARGET_NAME, b"").rstrip(b"\0").decode(errors="replace")
            if match == "mark":
                self.rule = self.rule._replace(marked=True)
            return match in _XT_MATCHES
        readers = {
            "payload": self._payload,
            "meta": self._meta,
            "bitwise": self._bitwise,
            "cmp": self._compare,
            "immediate": self._immediate,
            "masq": self._masquerade,
            "target": self._target,
        }
        return name in readers and readers[name](data)

    def _payload(self, data: dict[int, bytes]) -> bool:
        base, offset = _number(data, n.NFTA_PAYLOAD_BASE), _number(data, n.NFTA_PAYLOAD_OFFSET)
        self._loaded = _FIELDS.get((self.family, offset), "")
        self._length, self._mask = _number(data, n.NFTA_PAYLOAD_LEN), None
        return base == n.NFT_PAYLOAD_NETWORK_HEADER and bool(self._loaded)

    def _meta(self, data: dict[int, bytes]) -> bool:
        self._loaded, self._length, self._mask = "mark", 4, None
        return _number(data, n.NFTA_META_KEY) == n.NFT_META_MARK

    def _bitwise(self, data: dict[int, bytes]) -> bool:
        self._mask = _value(data.get(n.NFTA_BITWISE_MASK, b""))
        return not any(_value(data.get(n.NFTA_BITWISE_XOR, b"")))

    def _compare(self, data: dict[int, bytes]) -> bool:
        value = _value(data.get(n.NFTA_CMP_DATA, b""))
        differs = _number(data, n.NFTA_CMP_OP) == n.NFT_CMP_NEQ
        if _number(data, n.NFTA_CMP_OP) not in (n.NFT_CMP_EQ, n.NFT_CMP_NEQ):
            return False
        if self._loaded == "mark":
            self.rule = self.rule._replace(marked=True)
            mark = KUBE_PROXY_MARK
            return not differs and value in (mark.to_bytes(4, "little"), mark.to_bytes(4, "big"))
        prefix = self._prefix(value)
        if prefix is None:
            return False
        if self._loaded == "source":
            self.rule = self.rule._replace(source=prefix, not_source=differs)
        else:
            self.rule = self.rule._replace(destination=prefix, not_destination=differs)
        return True

    def _prefix(self, value: bytes) -> Prefix | None:
        """A compared address: all of it, its first bytes, or what a mask leaves of it."""
        size = self.family.bits // 8
        mask = self._mask if self._mask is not None else b"\xff" * self._length
        bits = int.from_bytes(mask, "big") if len(mask) <= size else 0
        length = bits.bit_count()
        whole = len(mask) * 8
        if len(value) != len(mask) or bits != (1 << whole) - (1 << whole - length):
            return None
        return Prefix(IPAddress(value.ljust(size, b"\0")), length)

    def _immediate(self, data: dict[int, bytes]) -> bool:
        outer = data.get(n.NFTA_IMMEDIATE_DATA, b"")
        inner = attributes(outer, 0, len(outer)).get(n.NFTA_DATA_VERDICT, b"")
        verdict = attributes(inner, 0, len(inner))
        code = int.from_bytes(verdict.get(n.NFTA_VERDICT_CODE, b"\x7f"), "big", signed=True)
        chain = verdict.get(n.NFTA_VERDICT_CHAIN, b"").rstrip(b"\0").decode(errors="replace")
        return code in _VERDICTS and self._end(_VERDICTS[code], chain)

    def _masquerade(self, data: dict[int, bytes]) -> bool:
        return self._end_masquerade(_number(data, n.NFTA_MASQ_FLAGS))

    def _target(self, data: dict[int, bytes]) -> bool:
        """Of iptables; before the flags IPv4 has a count of ranges, which is 1."""
        target = data.get(n.NFTA_TARGET_NAME, b"").rstrip(b"\0")
        start = 4 if self.family is Family.IPV4 else 0
        flags = data.get(n.NFTA_TARGET_INFO, b"")[start : start + 4]
        return target == b"MASQUERADE" and self._end_masquerade(number(flags))

    def _end_masquerade(self, flags: int) -> bool:
        self.fully_random = bool(flags & n.NF_NAT_RANGE_PROTO_RANDOM_FULLY)
        return self._end("masquerade")

    def _end(self, action: Action, chain: str = "") -> bool:
        self.rule = self.rule._replace(action=action, chain=chain)
        self.complete = True
        return True


def _number(data: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(data.get(kind, b""), "big")


def _value(data: bytes) -> bytes:
    return attributes(data, 0, len(data)).get(n.NFTA_DATA_VALUE, b"")
