"""The real kernel: one thread, in a network namespace, with the netlink sockets."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from flannel_sdk.dataplane.netlink.address import AddressParser, address_dump
from flannel_sdk.dataplane.netlink.encode import encode
from flannel_sdk.dataplane.netlink.link import (
    LinkParser,
    link_change,
    link_removal,
    link_request,
    vxlan_creation,
)
from flannel_sdk.dataplane.netlink.lookup import lookup_request, parse_lookup
from flannel_sdk.dataplane.netlink.monitor import Monitor
from flannel_sdk.dataplane.netlink.neighbour import (
    FdbParser,
    NeighbourParser,
    fdb_dump,
    neighbour_dump,
)
from flannel_sdk.dataplane.netlink.route import RouteParser, route_dump
from flannel_sdk.dataplane.objects import Device, ResolvedRoute
from flannel_sdk.dataplane.observed import FdbDump, LinkState, Notice, RouteDump
from flannel_sdk.dataplane.refusals import GONE, refusal
from flannel_sdk.dataplane.requests import Failure, Operation
from flannel_sdk.dataplane.thread import KernelThread
from flannel_sdk.errors import FlannelError
from flannel_sdk.instruments import KERNEL_SECONDS, Histogram
from flannel_sdk.model import IPAddress, MacAddress
from flannel_sdk.netlink.messages import Answer, Buffer
from flannel_sdk.netlink.socket import DumpParser, InterruptedDump, RequestSocket

T = TypeVar("T")
ParserT = TypeVar("ParserT", bound=DumpParser)
_DUMP_TRIES = 5
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class LinuxKernel:
    """The kernel of one network namespace; its calls run one after another in one thread.

    ``netns`` is a path (``/run/netns/NAME``), None for the process's own.
    """

    def __init__(self, netns: str | None = None, *, notice_buffer: int = 8 << 20) -> None:
        self.netns = netns
        self._thread = KernelThread(netns)
        self._requests: RequestSocket | None = None
        self._monitor: Monitor | None = None
        self._monitor_loop: asyncio.AbstractEventLoop | None = None
        self._notice_buffer = notice_buffer
        self._durations = {name: Histogram(KERNEL_SECONDS) for name in ("write", "read")}

    async def aclose(self) -> None:
        """Close the sockets and end the thread; idempotent."""
        try:
            await self.unsubscribe()
            await self._thread.aclose()
        finally:
            await self.unsubscribe()  # a subscription that was cancelled may have opened it since
            if self._requests is not None:
                self._requests.close()
                self._requests = None

    def latency(self) -> Mapping[str, object]:
        """JSON-ready: how long batches that were written, and dumps that were read, took."""
        return {name: histogram.status() for name, histogram in self._durations.items()}

    # Everything below runs in the kernel thread where its name starts with an underscore.

    def _socket(self) -> RequestSocket:
        if self._requests is None:
            self._requests = RequestSocket()
        return self._requests

    async def _call(self, doing: str, work: Callable[[], T]) -> T:
        try:
            return await self._thread.call(work)
        except OSError as error:
            raise _refused(doing, error) from error

    def _ask(self, request: Callable[[int], bytes], make: Callable[[], ParserT]) -> ParserT:
        channel, started = self._socket(), time.monotonic()
        for attempt in range(_DUMP_TRIES):
            parser = make()
            sequence = channel.reserve(1)
            try:
                channel.ask(request(sequence), sequence, parser)
            except InterruptedDump:
                if attempt + 1 == _DUMP_TRIES:
                    raise OSError(11, "the table changed under every one of 5 dumps") from None
            else:
                self._durations["read"].observe(time.monotonic() - started)
                return parser
        raise AssertionError("unreachable")

    def _tell(self, messages: Sequence[Callable[[int], bytes]]) -> list[Answer]:
        channel = self._socket()
        first = channel.reserve(len(messages))
        return channel.send([make(first + n) for n, make in enumerate(messages)], first)

    def submit(self, operations: Sequence[Operation]) -> asyncio.Future[list[Failure]]:
        """Encode now, here; send in the kernel thread."""
        count = sum(len(operation.rows) for operation in operations)
        # Sequence numbers only have to differ inside one batch, so each starts anew.
        messages = encode(operations, 1)

        def work() -> list[Failure]:
            if not count:
                return []
            channel, started = self._socket(), time.monotonic()
            try:
                answers = channel.send(messages, 1)
            except OSError as error:
                raise _refused("change the data plane", error) from error
            self._durations["write"].observe(time.monotonic() - started)
            return _failures(operations, answers)

        return self._thread.call(work)

    async def link(self, name: str) -> LinkState | None:
        """A device by name; None if there is none."""

        def work() -> LinkState | None:
            try:
                parser = self._ask(lambda n: link_request(n, name), LinkParser)
            except OSError as error:
                if error.errno == 19:
                    return None
                raise
            return parser.links[0]

        return await self._call(f"read the device {name}", work)

    async def link_attributes(self, name: str) -> Mapping[str, object]:
        """Attributes of the kind of a device that ``link`` does not decode; through pyroute2."""

        def work() -> Mapping[str, object]:
            from flannel_sdk.dataplane.devices import read_attributes

            return read_attributes(name)

        return await self._call(f"read the device {name}", work)

    async def addresses(self, index: int) -> list[tuple[bytes, int]]:
        """Address and prefix length of each address of a device."""

        def work() -> list[tuple[bytes, int]]:
            return self._ask(lambda n: address_dump(index, n), lambda: AddressParser(index)).rows

        return await self._call("read addresses", work)

    async def neighbours(self, index: int) -> dict[bytes, bytes]:
        """The permanent neighbours of a device, both families."""

        def work() -> dict[bytes, bytes]:
            rows: dict[bytes, bytes] = {}
            for family in _FAMILIES:
                parser = self._ask(
                    lambda n, family=family: neighbour_dump(family, index, n),  # type: ignore[misc]  # bound now
                    lambda family=family: NeighbourParser(family, index),  # type: ignore[misc]  # bound now
                )
                rows.update(parser.rows)
            return rows

        return await self._call("read neighbours", work)

    async def fdb(self, index: int) -> FdbDump:
        """The permanent unicast entries of a device itself."""

        def work() -> FdbDump:
            return self._ask(lambda n: fdb_dump(index, n), lambda: FdbParser(index)).dump

        return await self._call("read forwarding entries", work)

    async def routes(self) -> RouteDump:
        """The main table, both families."""

        def work() -> RouteDump:
            whole = RouteDump({}, [])
            for family in _FAMILIES:
                try:
                    dump = self._ask(
                        lambda n, f=family: route_dump(f, n),  # type: ignore[misc]  # bound now
                        lambda f=family: RouteParser(f),  # type: ignore[misc]  # bound now
                    ).dump
                except FileNotFoundError:
                    continue  # the main table is made with its first route
                whole.rows.update(dump.rows)
                whole.strays.extend(dump.strays)
            return whole

        return await self._call("read routes", work)

    async def make_device(self, device: Device, lower: int | None) -> None:
        """Create a device, down; all kinds but vxlan through pyroute2."""

        def work() -> None:
            if device.kind == "vxlan":
                _demand(self._tell([lambda n: vxlan_creation(device, lower, n)]))
            else:
                from flannel_sdk.dataplane.devices import make_device

                make_device(device, lower)

        await self._call(f"create the device {device.name}", work)

    async def change_link(self, index: int, *, up: bool, mtu: int, mac: MacAddress | None) -> None:
        """Set a device up, its MTU unless 0, its MAC unless None."""

        def work() -> None:
            _demand(self._tell([lambda n: link_change(index, n, up=up, mtu=mtu, mac=mac)]))

        await self._call(f"change the device with index {index}", work)

    async def remove_link(self, index: int) -> None:
        """Delete a device; fine if it is gone."""

        def work() -> None:
            answers = self._tell([lambda n: link_removal(index, n)])
            _demand([answer for answer in answers if answer.errno not in (*GONE, 19)])

        await self._call(f"delete the device with index {index}", work)

    async def disable_router_advertisements(self, name: str) -> None:
        """Set ``accept_ra`` of a device to 0; fine if there is no IPv6."""

        def work() -> None:
            path = f"/proc/sys/net/ipv6/conf/{name}/accept_ra"
            with contextlib.suppress(FileNotFoundError), open(path, "r+", encoding="ascii") as file:
                if file.read().strip() != "0":
                    file.seek(0)
                    file.write("0")

        # A read-only /proc/sys is common in containers, and then the host has to see to it.
        with contextlib.suppress(OSError):
            await self._thread.call(work)

    async def lookup_routes(self, addresses: Sequence[IPAddress]) -> dict[IPAddress, ResolvedRoute]:
        """The way that the kernel takes to each address now; those it has none for are absent."""

        def work() -> dict[IPAddress, ResolvedRoute]:
            channel = self._socket()
            first = channel.reserve(len(addresses))
            ways: dict[IPAddress, tuple[int, IPAddress | None, int]] = {}

            def take(position: int, buffer: Buffer, offset: int, end: int) -> None:
                way = parse_lookup(buffer, offset, end)
                if way is not None:
                    ways[addresses[position]] = way

            requests = [lookup_request(one, first + n) for n, one in enumerate(addresses)]
            channel.ask_each(requests, first, take)
            names: dict[int, str] = {}
            for index in {way[0] for way in ways.values()}:
                with contextlib.suppress(OSError):
                    names[index] = socket.if_indextoname(index)
            return {
                address: ResolvedRoute(names[index], gateway, count)
                for address, (index, gateway, count) in ways.items()
                if index in names
            }

        return await self._call("look up routes", work)

    async def subscribe(self, handler: Callable[[Sequence[Notice]], None]) -> None:
        """Call ``handler`` in the event loop with what others change from now on."""

        def work() -> Monitor:
            # Kept from the start: a cancelled call would lose it.
            self._monitor = Monitor(self._socket().port, buffer_size=self._notice_buffer)
            return self._monitor

        await self.unsubscribe()
        monitor = await self._call("listen for changes", work)

        def ready() -> None:
            notices = monitor.read()
            if notices:
                handler(notices)

        loop = asyncio.get_running_loop()
        self._monitor_loop = loop
        loop.add_reader(monitor.socket.fileno(), ready)

    async def unsubscribe(self) -> None:
        """End what ``subscribe`` began; idempotent."""
        if self._monitor is not None:
            if self._monitor_loop is not None:
                self._monitor_loop.remove_reader(self._monitor.socket.fileno())
            self._monitor.close()
        self._monitor = self._monitor_loop = None

    def listen_for_objects(self, listen: bool) -> None:
        """False: there are no notices of neighbours, entries and routes until True."""
        if self._monitor is not None:
            self._monitor.listen_for_objects(listen)


def _refused(doing: str, error: OSError) -> FlannelError:
    return refusal(doing, error.errno or 0, error.strerror or str(error))


def _demand(answers: Sequence[Answer]) -> None:
    for answer in answers:
        raise OSError(answer.errno, answer.reason)


def _failures(operations: Sequence[Operation], answers: Sequence[Answer]) -> list[Failure]:
    """Map answers to rows; what was to be removed and is not there is no failure."""
    failures = []
    for answer in answers:
        row = answer.sequence - 1
        for operation in operations:
            if row < len(operation.rows):
                if not (operation.verb == "remove" and answer.errno in GONE):
                    failures.append(Failure(operation, row, answer.errno, answer.reason))
                break
            row -= len(operation.rows)
    return failures
