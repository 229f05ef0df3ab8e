"""Traffic for ``benchmarks.udp``, one end a process: bulk TCP, a flood of small UDP, round trips.

``python -m benchmarks.udp_traffic NETNS ROLE ...`` moves into the namespace and prints one line of
JSON at its end; a sink prints its port first, and ends when its source does.
"""

import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from struct import pack

from flannel_sdk.netlink.sendmmsg import send_all
from flannel_sdk.netns import enter_netns

_CHUNK = 256 << 10
_SMALL = 64 - 28
"""Payload of an IP packet of 64 bytes."""
_BURST = 64
_SO_ATTACH_FILTER = 26


def _cpu() -> float:
    used = os.times()
    return used.user + used.system


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def tcp_sink(address: str) -> None:
    """Take one connection and read it to its end."""
    with socket.create_server((address, 0)) as listener:
        _say(port=listener.getsockname()[1])
        connection, _ = listener.accept()
    buffer, total = bytearray(_CHUNK), 0
    with connection:
        while count := connection.recv_into(buffer):
            total += count
    _say(bytes=total, cpu=_cpu())


def tcp_source(address: str, port: str, seconds: str) -> None:
    """Write as fast as can be; the rate is of what has been acknowledged in the end."""
    data, total = bytes(_CHUNK), 0
    with socket.create_connection((address, int(port))) as connection:
        start = time.monotonic()
        while time.monotonic() - start < float(seconds):
            connection.sendall(data)
            total += len(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        taken = time.monotonic() - start
    _say(bits_per_second=total * 8 / taken, bytes=total, cpu=_cpu())


def flood_sink(address: str) -> None:
    """A port that throws away what comes, in the kernel; ends with its standard input."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        _drop_everything(sock)
        _say(port=sock.getsockname()[1])
        before = _datagrams_received()
        sys.stdin.readline()
        _say(packets=_datagrams_received() - before)


def _drop_everything(sock: socket.socket) -> None:
    program = pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K of 0 bytes
    import ctypes

    buffer = ctypes.create_string_buffer(program)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HP", 1, ctypes.addressof(buffer)))


def _datagrams_received() -> int:
    """IP packets that have reached this namespace's sockets."""
    with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
        names, values = (line.split() for line in file if line.startswith("Ip:"))
    return int(values[names.index("InDelivers")])


def flood_source(address: str, port: str, seconds: str) -> None:
    """Send packets of 64 bytes as fast as can be."""
    data, lengths, sent = bytearray(_SMALL * _BURST), [_SMALL] * _BURST, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, int(port)))
        start = time.monotonic()
        while time.monotonic() - start < float(seconds):
            send_all(sock, data, lengths)
            sent += _BURST
        taken = time.monotonic() - start
    _say(packets=sent, seconds=taken, cpu=_cpu())


def round_trips(address: str, count: str) -> None:
    """ICMP echo, one after another; the other kernel answers."""
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.connect((address, 0))
        sock.settimeout(2)
        for number in range(int(count)):
            request = _echo(number)
            start = time.perf_counter()
            sock.send(request)
            while sock.recv(2048)[20:28] != b"\0" + b"\0" + _reply_tail(number):
                pass
            took.append(time.perf_counter() - start)
            time.sleep(0.001)
    took = took[len(took) // 10 :]
    _say(median=statistics.median(took), p99=statistics.quantiles(took, n=100)[98])


def _echo(number: int) -> bytes:
    body = pack("!BBHHH", 8, 0, 0, 0x4242, number) + bytes(48)
    total = int.from_bytes(body, "big") % 0xFFFF
    return pack("!BBHHH", 8, 0, 0xFFFF - total, 0x4242, number) + bytes(48)


def _reply_tail(number: int) -> bytes:
    body = pack("!BBHHH", 0, 0, 0, 0x4242, number)
    return pack("!HHH", 0xFFFF - int.from_bytes(body, "big") % 0xFFFF, 0x4242, number)


ROLES: dict[str, Callable[..., None]] = {
    "tcp-sink": tcp_sink,
    "tcp-source": tcp_source,
    "flood-sink": flood_sink,
    "flood-source": flood_source,
    "round-trips": round_trips,
}

if __name__ == "__main__":
    enter_netns(sys.argv[1])
    ROLES[sys.argv[2]](*sys.argv[3:])
