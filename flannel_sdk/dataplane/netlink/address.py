"""RTM_NEWADDR, RTM_DELADDR and address dumps."""

from struct import Struct
from typing import Final

from flannel_sdk.dataplane.observed import AddressNotice
from flannel_sdk.dataplane.requests import AddressOperation
from flannel_sdk.netlink.constants import (
    IFA_ADDRESS,
    IFA_F_NODAD,
    IFA_LOCAL,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
)
from flannel_sdk.netlink.messages import Buffer, attribute, attributes, message

IFADDRMSG: Final = Struct("=BBBBI")
"""ifaddrmsg: family, prefix length, flags, scope, device index."""


def encode_addresses(operation: AddressOperation, sequence: int) -> list[bytes]:
    """A message for each row, numbered from ``sequence``."""
    verb, index, rows, _ = operation
    kind, flags = RTM_DELADDR, NLM_F_REQUEST
    if verb == "put":
        kind, flags = RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
    messages = []
    for number, (address, length) in enumerate(rows, sequence):
        family, own = (2, 0) if len(address) == 4 else (10, IFA_F_NODAD)
        body = IFADDRMSG.pack(family, length, own if verb == "put" else 0, 0, index)
        body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
        messages.append(message(kind, flags, number, body))
    return messages


def address_dump(index: int, sequence: int) -> bytes:
    """A request for the addresses of one device, both families."""
    return message(
        RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, sequence, IFADDRMSG.pack(0, 0, 0, 0, index)
    )


class AddressParser:
    """Collects address and prefix length out of a dump of one device."""

    def __init__(self, index: int) -> None:
        self.kind = RTM_NEWADDR
        self.rows: list[tuple[bytes, int]] = []
        self._index = index

    def fast(self, _buffer: Buffer, offset: int, _end: int) -> int:
        """No usual layout: addresses are few."""
        return offset

    def slow(self, buffer: Buffer, offset: int, end: int) -> None:
        """Read one message."""
        notice = parse_address(buffer, offset, end, present=True)
        if notice.ifindex == self._index:
            self.rows.append((notice.address, notice.length))


def parse_address(buffer: Buffer, offset: int, end: int, *, present: bool) -> AddressNotice:
    """Read one RTM_NEWADDR or RTM_DELADDR message."""
    _, length, _, _, index = IFADDRMSG.unpack_from(buffer, offset + 16)
    found = attributes(buffer, offset + 24, end)
    address = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS) or b""
    return AddressNotice(index, address, length, present)
