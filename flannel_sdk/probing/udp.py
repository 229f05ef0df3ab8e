"""UDP packets to ports that are closed: the kernel at the other end answers that they are.

Its answer, ICMP port unreachable (RFC 1122, 3.2.2.1), comes back as an error of the connected
socket. Kernels send about one a second to one address, after a burst of six.
"""

import asyncio
import errno
import os
import socket
import struct
from contextlib import ExitStack
from enum import Enum
from typing import Final, TypedDict

from flannel_sdk.errors import PrivilegeError
from flannel_sdk.model import Family, IPAddress
from flannel_sdk.netns import run_in_netns
from flannel_sdk.probing.echo import internet_checksum


class _Pace(TypedDict):
    wait: float
    tries: int


CLOSED_PORT = 33491
"""In traceroute's range, where nobody is expected to listen."""

SLOWLY: Final = _Pace(wait=1.1, tries=2)
"""One of so few packets is answered, whatever was asked before (icmp_ratelimit: one a second)."""

_ANSWERS = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES}


class Checksum(Enum):
    """Who completes a packet's checksum."""

    DEVICE = "device"
    """Left to the device, as for all that sockets send: what an offload bug spoils."""
    SOFTWARE = "software"
    """Complete before it is sent."""


class Outcome(Enum):
    """What became of a UDP packet."""

    CLOSED = "closed"
    """The other end says that nobody listens: the packet arrived."""
    REFUSED = "refused"
    """Somebody on the way, or the other end's firewall, says that it may not pass."""
    BLOCKED = "blocked"
    """Our own kernel did not send it: a firewall here, or no route."""
    SILENT = "silent"
    """No answer: somebody listens, or it was lost."""


async def send_udp(
    netns: str | None,
    address: IPAddress,
    port: int = CLOSED_PORT,
    *,
    checksum: Checksum = Checksum.DEVICE,
    wait: float = 0.4,
    tries: int = 3,
) -> Outcome:
    """Send up to ``tries`` small packets, ``wait`` seconds apart, until one is answered."""
    loop = asyncio.get_running_loop()
    with ExitStack() as opened:
        try:
            sender, packet = run_in_netns(netns, lambda: _open(opened, address, port, checksum))
        except OSError:
            return Outcome.BLOCKED
        try:
            for _ in range(tries):
                try:
                    async with asyncio.timeout(wait):
                        await loop.sock_sendall(sender, packet)
                        await loop.sock_recv(sender, 1)
                except TimeoutError:
                    continue
                return Outcome.SILENT  # something listens there, and even answers
        except OSError as error:
            return _outcome(error)
    return Outcome.SILENT


def _outcome(error: OSError) -> Outcome:
    if error.errno == errno.ECONNREFUSED:
        return Outcome.CLOSED
    if error.errno in _ANSWERS:
        return Outcome.REFUSED
    return Outcome.BLOCKED


def _open(
    opened: ExitStack, address: IPAddress, port: int, checksum: Checksum
) -> tuple[socket.socket, bytes]:
    """A connected socket, and what to send on it."""
    family, place = int(address.family), (str(address), port)
    usual = opened.enter_context(
        socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
    )
    usual.connect(place)
    payload = os.urandom(16)
    if checksum is Checksum.DEVICE:
        return usual, payload
    try:
        raw = opened.enter_context(
            socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_UDP)
        )
    except PermissionError as error:
        raise PrivilegeError("probing needs CAP_NET_RAW in the namespace: run as root") from error
    raw.connect((str(address), 0))
    source, source_port = usual.getsockname()[:2]  # held by ``usual``, so that nobody else has it
    return raw, _datagram(IPAddress.parse(source), source_port, address, port, payload)


def _datagram(
    source: IPAddress, source_port: int, address: IPAddress, port: int, payload: bytes
) -> bytes:
    """A UDP datagram with its checksum (RFC 768; RFC 8200, 8.1)."""
    length = 8 + len(payload)
    header = struct.pack("!HHH", source_port, port, length)
    if address.family is Family.IPV4:
        pseudo = source + address + struct.pack("!HH", socket.IPPROTO_UDP, length)
    else:
        pseudo = source + address + struct.pack("!II", length, socket.IPPROTO_UDP)
    checksum = internet_checksum(pseudo + header + b"\0\0" + payload) or 0xFFFF
    return header + struct.pack("!H", checksum) + payload
