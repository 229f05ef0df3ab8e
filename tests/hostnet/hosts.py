"""A node with a pod, a remote pod and an outside host around it; who sees which source address."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from flannel_sdk.hostnet.firewall import Addresses, Firewall
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.model import ByFamily, Family, Prefix
from flannel_sdk.testing.namespaces import Namespace

FAMILIES = (Family.IPV4, Family.IPV6)
ADDRESSES = ByFamily(
    Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24")),
    Addresses(Prefix.parse("fc00::/48"), Prefix.parse("fc00:0:0:3::/64")),
)
OTHER = ByFamily(Addresses(Prefix.parse("10.77.0.0/16"), Prefix.parse("10.77.1.0/24")))

POD_GATEWAY = ByFamily("10.5.3.1", "fc00:0:0:3::1")
POD = ByFamily("10.5.3.2", "fc00:0:0:3::2")
OVERLAY = ByFamily("10.5.3.0", "fc00:0:0:3::")
"""The node's address on the overlay's device."""
REMOTE_POD = ByFamily("10.5.7.2", "fc00:0:0:7::2")
NODE = ByFamily("192.168.9.1", "fd09::1")
"""The node's address for the outside."""
OUTSIDE = ByFamily("192.168.9.2", "fd09::2")
MULTICAST = ByFamily("224.0.0.251", "ff05::fb")
_PORT = 7777


class Hosts(NamedTuple):
    """The namespaces."""

    node: Namespace
    pod: Namespace
    remote: Namespace
    """Has a pod of another node, behind the overlay's device."""
    outside: Namespace


def build(make: Callable[[str], Namespace]) -> Hosts:
    """Connect four fresh namespaces; the node forwards."""
    hosts = Hosts(make("node"), make("pod"), make("remote"), make("out"))
    node = hosts.node
    for space in hosts:
        space.call(_no_duplicate_detection)
    for other, device in ((hosts.pod, "pod"), (hosts.remote, "overlay"), (hosts.outside, "out")):
        node.ip(f"link add {device} type veth peer name eth0 netns {other.name}")
    node.ip_batch(
        [
            *_addresses("pod", "10.5.3.1/24", "fc00:0:0:3::1/64"),
            *_addresses("overlay", "10.5.3.0/32", "fc00:0:0:3::/128"),
            *_addresses("out", "192.168.9.1/24", "fd09::1/64"),
            "route add 10.5.7.0/24 dev overlay src 10.5.3.0",
            "route add fc00:0:0:7::/64 dev overlay src fc00:0:0:3::",
        ]
    )
    hosts.pod.ip_batch(
        [
            *_addresses("eth0", "10.5.3.2/24", "fc00:0:0:3::2/64"),
            "route add default via 10.5.3.1",
            "route add default via fc00:0:0:3::1",
        ]
    )
    hosts.remote.ip_batch(
        [
            *_addresses("eth0", "10.5.7.2/24", "fc00:0:0:7::2/64"),
            "route add 10.5.3.0/24 via 10.5.3.0 dev eth0 onlink",
            "route add fc00:0:0:3::/64 via fc00:0:0:3:: dev eth0 onlink",
        ]
    )
    hosts.outside.ip_batch(
        [
            *_addresses("eth0", "192.168.9.2/24", "fd09::2/64"),
            "route add 10.5.0.0/16 via 192.168.9.1",
            "route add fc00::/48 via fd09::1",
        ]
    )
    node.call(_forward)
    return hosts


def _addresses(device: str, *addresses: str) -> list[str]:
    return [
        f"link set {device} up",
        *(f"address add {a} dev {device}" + (" nodad" if ":" in a else "") for a in addresses),
    ]


def _no_duplicate_detection() -> None:
    """IPv6 takes a second for it, for each link."""
    Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")


def _forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")


def seen_source(
    sender: Namespace,
    receiver: Namespace,
    destination: str,
    *,
    source: str = "",
    patience: float = 30.0,
) -> str | None:
    """The address that datagrams to ``destination`` come from; None if none arrives in time."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with (
        sender.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as out,
        receiver.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as into,
    ):
        into.bind(("", _PORT))
        into.settimeout(0.05)
        _join(into, destination)
        out.bind((source, 0))
        _leave_by_out(out, sender, destination)
        end = time.monotonic() + patience
        while time.monotonic() < end:
            out.sendto(b"who am I", (destination, _PORT))
            try:
                return str(into.recvfrom(64)[1][0])
            except TimeoutError:
                continue
    return None


def _join(into: socket.socket, group: str) -> None:
    if group == MULTICAST.ipv4:
        membership = socket.inet_aton(group) + socket.inet_aton("192.168.9.2")
        into.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    if group == MULTICAST.ipv6:
        membership = socket.inet_pton(socket.AF_INET6, group) + bytes(4)
        into.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)


def _leave_by_out(out: socket.socket, sender: Namespace, group: str) -> None:
    if group == MULTICAST.ipv4:
        address = socket.inet_aton("192.168.9.1")
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
    if group == MULTICAST.ipv6:
        index = sender.call(lambda: socket.if_nametoindex("out"))
        out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)


def everything(kind: FirewallKind = "auto") -> FirewallOptions:
    """Options with all rules on."""
    return FirewallOptions(ip_masq=True, iptables_forward_rules=True, kind=kind)


@asynccontextmanager
async def keeping(
    node: Namespace,
    options: FirewallOptions,
    addresses: ByFamily[Addresses] = ADDRESSES,
    former: tuple[Addresses, ...] = (),
) -> AsyncIterator[Firewall]:
    """A firewall that runs, with its rules in the kernel; they stay there."""
    firewall = Firewall(options, netns=node.path)
    running = asyncio.create_task(firewall.run())
    try:
        applied = asyncio.create_task(firewall.apply(addresses, former))
        await asyncio.wait([running, applied], return_when=asyncio.FIRST_COMPLETED, timeout=30)
        if running.done():
            applied.cancel()
            await running
        assert applied.done(), firewall.status()
        yield firewall
    finally:
        running.cancel()
        await asyncio.wait([running])


@contextmanager
def watched(
    sender: Namespace, receiver: Namespace, destination: str
) -> Iterator[Callable[[], Counter[str]]]:
    """Meanwhile a new connection each millisecond; gives the sources seen until now."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    seen: Counter[str] = Counter()
    end = threading.Event()

    def send() -> None:
        while not end.wait(0.001):
            with sender.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as out:
                out.sendto(b"new", (destination, _PORT))

    def receive(into: socket.socket) -> None:
        while not end.is_set():
            with suppress(TimeoutError):
                seen[str(into.recvfrom(64)[1][0])] += 1

    with receiver.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as into:
        into.bind(("", _PORT))
        into.settimeout(0.05)
        threads = [threading.Thread(target=send), threading.Thread(target=receive, args=(into,))]
        for thread in threads:
            thread.start()
        try:
            yield lambda: Counter(seen)
        finally:
            end.set()
            for thread in threads:
                thread.join()


async def until(holds: Callable[[], bool], patience: float = 30.0) -> float:
    """Wait until ``holds``; the seconds it took. AssertionError if it never does."""
    started = time.monotonic()
    while not await asyncio.to_thread(holds):
        assert time.monotonic() - started < patience, "it never came true"
        await asyncio.sleep(0.01)
    return time.monotonic() - started
