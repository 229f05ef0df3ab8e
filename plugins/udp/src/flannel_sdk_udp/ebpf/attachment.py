"""The programs of one tunnel on its two devices: put there, looked after, taken away; blocking."""

import errno
import socket
import threading
from collections.abc import Collection, Mapping

from flannel_sdk.model import IPAddress, Prefix
from flannel_sdk_udp.datapath import Counter, DatapathUnsupported, DeviceGone, Peer, Tunnel
from flannel_sdk_udp.ebpf.changes import Changes
from flannel_sdk_udp.ebpf.programs import LoadedPrograms, Settings, Target
from flannel_sdk_udp.ebpf.refusals import impossible, refused
from flannel_sdk_udp.ebpf.route_mtu import route_mtus
from flannel_sdk_udp.ebpf.traffic_control import EGRESS, INGRESS, Filter, TrafficControl
from flannel_sdk_udp.ebpf.underlay import Underlay, read_underlay


class Attachment:
    """One load of the programs and the filters that run them, in the calling thread's namespace.

    A process that starts loads its own, and puts them in the place of an earlier process's, one
    filter at a time and each in one step, when they know all peers. Until then the earlier ones go
    on with what they knew. So no layout of a map has to be understood that another release wrote.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._lock = threading.Lock()
        self._programs: LoadedPrograms | None = None
        self.changes: Changes | None = None
        """Word of what others do to devices and filters, from the first ``attach`` on."""
        self._closed = False
        self._complete = False
        self._underlay: Underlay | None = None
        self._peers: dict[Prefix, Peer] = {}
        self._mtus: dict[IPAddress, int] = {}

    def attach(self) -> None:
        """Load the programs, and put them in place if they know the peers already.

        DatapathUnsupported where that cannot work; KernelRefused for what may heal.
        """
        with self._lock:
            if self._closed:  # while this waited for its thread
                return
            if self._programs is None:
                self._programs = loaded_programs()
            if self.changes is None:
                self.changes = Changes()
            with TrafficControl() as control:
                if self._complete:
                    self._put(control, self._programs)
                else:
                    self._prepare(control, self._programs)

    def change_peers(
        self,
        changed: Mapping[Prefix, Peer],
        removed: Collection[Prefix],
        *,
        full: bool,
    ) -> None:
        """As ``Datapath.update``."""
        with self._lock:
            programs = self._programs
            if programs is None:
                return
            if full:
                self._peers = dict(changed)
            else:
                for subnet in removed:
                    self._peers.pop(subnet, None)
                self._peers.update(changed)
            try:
                self._ask_for_mtus({peer.address for peer in changed.values()})
                targets = {subnet: self._target(peer) for subnet, peer in changed.items()}
                if full:
                    programs.replace_peers(targets)
                else:
                    programs.change_peers(targets, set(removed))
            except OSError as error:
                raise refused("change the peers of the eBPF programs", error) from error
            if full and not self._complete:
                self._complete = True
                with TrafficControl() as control:
                    self._put(control, programs)

    def repair(self) -> None:
        """Put back what somebody took away. DeviceGone if that is the tunnel's device.

        Where routes to peers have an MTU, look at them again too.
        """
        with self._lock:
            changes = self.changes
            if self._programs is None or changes is None or not self._complete:
                return
            with TrafficControl() as control:
                self._put(control, self._programs)
            if self._mtus or changes.route_mtu:
                changes.route_mtu = False
                self._mtus.clear()
                self._ask_for_mtus({peer.address for peer in self._peers.values()})
                targets = {subnet: self._target(peer) for subnet, peer in self._peers.items()}
                self._programs.replace_peers(targets)

    def counters(self) -> dict[Counter, int]:
        """As ``Datapath.counters``; zeros before the first load."""
        with self._lock:
            if self._programs is None:
                return dict.fromkeys(Counter, 0)
            return self._programs.counters()

    def remove(self) -> None:
        """Take the filters of this tunnel away, whoever put them there."""
        with self._lock, TrafficControl() as control:
            try:
                for found in control.filters(self._name):
                    control.delete(found)
            except OSError as error:
                raise refused(f"remove the filters of {self._tunnel.device}", error) from error

    def close(self) -> None:
        """Free descriptors; what runs in the kernel goes on. Idempotent."""
        with self._lock:
            self._closed = True
            if self._programs is not None:
                self._programs.close()
                self._programs = None
            if self.changes is not None:
                self.changes.close()

    def _ask_for_mtus(self, addresses: set[IPAddress]) -> None:
        found = route_mtus(list(addresses))
        for address in addresses:
            self._mtus.pop(address, None)
        self._mtus.update(found)
        if self.changes is not None:
            self.changes.any_route = bool(self._mtus)

    def _target(self, peer: Peer) -> Target:
        wire = self._underlay is not None and self._underlay.wire
        return Target(peer.address, peer.in_kernel or wire, self._mtus.get(peer.address, 0))

    @property
    def _name(self) -> str:
        return f"flannel-sdk {self._tunnel.device}"

    def _find_devices(self, programs: LoadedPrograms) -> tuple[int, Underlay]:
        """The tunnel's index and the underlay; tells the programs. OSError if there is none."""
        try:
            tunnel = socket.if_nametoindex(self._tunnel.device)
        except OSError as error:
            raise DeviceGone(f"the device {self._tunnel.device} is gone", errno.ENODEV) from error
        underlay = read_underlay(self._tunnel.underlay)
        if underlay.link_header is None:
            raise DatapathUnsupported(
                f"the eBPF programs know Ethernet and plain IP, and {self._tunnel.underlay} is"
                " neither"
            )
        self._underlay = underlay
        programs.configure(
            Settings(
                self._tunnel.source,
                self._tunnel.port,
                underlay.link_header,
                tunnel,
                underlay.ifindex,
            )
        )
        return tunnel, underlay

    def _prepare(self, control: TrafficControl, programs: LoadedPrograms) -> None:
        """See that filters work here: by those that are there, or by one that is not left there."""
        try:
            tunnel, underlay = self._find_devices(programs)
            control.share_clsact(tunnel)
            control.share_clsact(underlay.ifindex)
            if not control.filters(self._name):
                trial = Filter(tunnel, INGRESS, self._tunnel.port, "flannel-sdk trial", 0)
                control.put(trial, programs.from_peers)
                control.delete(trial)
        except OSError as error:
            raise impossible("put eBPF filters on a device", error) from error

    def _put(self, control: TrafficControl, programs: LoadedPrograms) -> None:
        """What carries what comes in first, then what sends; then none but these."""
        try:
            tunnel, underlay = self._find_devices(programs)
            handle, ids = self._tunnel.port, programs.ids
            wanted = {
                Filter(underlay.ifindex, INGRESS, handle, self._name, ids[programs.from_peers]): (
                    programs.from_peers
                ),
                Filter(tunnel, EGRESS, handle, self._name, ids[programs.to_peers]): (
                    programs.to_peers
                ),
            }
            found = set(control.filters(self._name))
            for row, descriptor in wanted.items():
                if row not in found:
                    control.share_clsact(row.ifindex)
                    control.put(row, descriptor)
            places = {row[:3] for row in wanted}
            for row in found:
                if row[:3] not in places:
                    control.delete(row)
        except OSError as error:
            raise refused(
                f"put eBPF filters on {self._tunnel.device} and {self._tunnel.underlay}", error
            ) from error


def loaded_programs() -> LoadedPrograms:
    """The programs and their maps; DatapathUnsupported in a sentence where that is impossible."""
    try:
        return LoadedPrograms()
    except OSError as error:
        raise impossible("load eBPF programs", error) from error
