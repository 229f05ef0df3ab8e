"""Sends the probes: each peer by each family, over the underlay and through the overlay."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flannel_sdk.doctor.findings import PathReport, PeerReport
from flannel_sdk.doctor.patient import Patient
from flannel_sdk.health.facts import number, part, texts
from flannel_sdk.model import Family, IPAddress, Prefix
from flannel_sdk.probing.pings import SMALL_PACKET_BYTES, Ping, path_mtu, ping_each
from flannel_sdk.probing.udp import SLOWLY, Checksum, Outcome, send_udp
from flannel_sdk.task_groups import single_error

_AT_ONCE = 256
"""Peers whose UDP and path MTU are probed at the same time."""


@dataclass(slots=True)
class Target:
    """One peer in one family."""

    peer: PeerReport
    path: PathReport
    family: Family
    subnet: Prefix
    public_ip: IPAddress | None
    refusal: str | None = None
    """Why our kernel refused to send through the overlay."""


def targets(patient: Patient) -> list[Target]:
    """Every peer of the daemon by every family, with empty reports."""
    found = []
    for row in patient.peers:
        peer = PeerReport(texts(row, "subnets"), texts(row, "public_ips"))
        public_ips = [IPAddress.parse(ip) for ip in peer.public_ips]
        for text in peer.subnets:
            subnet = Prefix.parse(text)
            public_ip = next((ip for ip in public_ips if ip.family is subnet.family), None)
            path = PathReport(str(subnet.family), str(public_ip) if public_ip else None)
            peer.paths.append(path)
            found.append(Target(peer, path, subnet.family, subnet, public_ip))
    return found


async def probe(
    patient: Patient, found: Sequence[Target], explained: Callable[[str], bool]
) -> None:
    """Fill the reports in; PrivilegeError without CAP_NET_RAW.

    ``explained``: whether it is known already what ails a peer, so that pings are enough.
    """
    with single_error():
        async with asyncio.TaskGroup() as tasks:
            for family in Family:
                of_family = [target for target in found if target.family is family]
                if of_family:
                    tasks.create_task(_Probes(patient, family, of_family).run(explained))


async def ping_underlay(patient: Patient, addresses: Iterable[IPAddress]) -> dict[IPAddress, Ping]:
    """Ping public IPs of any family."""
    results: dict[IPAddress, Ping] = {}
    known = set(addresses)
    for family in Family:
        of_family = [address for address in known if address.family is family]
        results |= await ping_each(patient.netns, family, of_family, timeout=1.0)
    return results


class _Probes:
    def __init__(self, patient: Patient, family: Family, found: Sequence[Target]) -> None:
        self._netns = patient.netns
        self._patient = patient
        self._family = family
        self._targets = found
        self._mtu = int(number(patient.status, "mtu") or 0)
        self._udp_port = int(number(part(patient.status, "dataplane"), "udp_port") or 0)

    async def run(self, explained: Callable[[str], bool]) -> None:
        underlay = await ping_underlay(
            self._patient, [target.public_ip for target in self._targets if target.public_ip]
        )
        for target in self._targets:
            if target.public_ip is not None:
                target.path.underlay_seconds = underlay[target.public_ip].round_trip
        await self._find_answering()
        await self._ping_full()
        limit = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            for target in self._targets:
                if not explained(target.peer.name):
                    tasks.create_task(self._look_closer(target, limit))

    async def _find_answering(self) -> None:
        """Which address answers inside the overlay: the device's own, or else the bridge's."""
        for patience in (0.4, 1.5):  # one of the two may well be nobody's
            silent = [t for t in self._targets if t.path.tunnel_seconds is None]
            hosts = {t.subnet.host(host): t for host in (1, 0) for t in silent}
            results = await ping_each(self._netns, self._family, hosts, timeout=patience)
            for address, target in hosts.items():
                result = results[address]
                if result.round_trip is not None or target.path.tunnel_seconds is None:
                    target.path.address = str(address)
                    target.path.tunnel_seconds = result.round_trip
                    target.refusal = result.refusal

    async def _ping_full(self) -> None:
        if not self._mtu:
            return
        answering = {
            IPAddress.parse(t.path.address): t
            for t in self._targets
            if t.path.address is not None and t.path.tunnel_seconds is not None
        }
        results = await ping_each(self._netns, self._family, answering, packet_bytes=self._mtu)
        for address, target in answering.items():
            target.path.full_mtu = results[address].round_trip is not None

    async def _look_closer(self, target: Target, limit: asyncio.Semaphore) -> None:
        path, netns = target.path, self._netns
        async with limit:
            if path.tunnel_seconds is None:
                if target.public_ip is not None:
                    await self._look_at_underlay(path, target.public_ip)
                return
            assert path.address is not None
            address = IPAddress.parse(path.address)
            await self._compare_checksums(path, address)
            if path.full_mtu is False:
                path.largest_packet = await path_mtu(
                    netns, address, works=SMALL_PACKET_BYTES, fails=self._mtu
                )

    async def _look_at_underlay(self, path: PathReport, public_ip: IPAddress) -> None:
        if self._udp_port:
            outcome = await send_udp(self._netns, public_ip, self._udp_port, **SLOWLY)
            path.udp_port = outcome.value
        if path.underlay_seconds is not None:
            await self._compare_checksums(path, public_ip)

    async def _compare_checksums(self, path: PathReport, address: IPAddress) -> None:
        """One after the other; again, slowly, before it is believed that they differ."""
        device = await send_udp(self._netns, address)
        software = await send_udp(self._netns, address, checksum=Checksum.SOFTWARE)
        if device is Outcome.SILENT and software is not Outcome.SILENT:
            device = await send_udp(self._netns, address, **SLOWLY)
        path.checksum_device, path.checksum_software = device.value, software.value
