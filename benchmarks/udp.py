"""``make bench-udp``: what packets cost on each way between two nodes of this machine; needs root.

Bare veth (through the bridge of the lab), vxlan, udp in the kernel and in userspace, and flannel's
own where ``FLANNELD`` names a binary. TCP in one connection, IP packets of 64 bytes, round trips of
ICMP echo, and the CPU time of daemons and traffic together. All of one run: compare the ratios.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flannel_sdk.cli.tables import Column, print_table
from flannel_sdk.errors import FlannelError
from flannel_sdk.lab import Lab, LabSpec
from flannel_sdk.lab.daemon import spawn_daemon
from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.names import UNDERLAY_LINK, netns_path
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.testing.waiting import eventually

INSTANCE = f"bench{os.getpid()}"
_READY = 20.0
_CLOCK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figures:
    """One way's figures."""

    way: str
    gigabits: float
    """TCP, a second."""
    cpu_per_gigabyte: float
    """Seconds of daemons, source and sink."""
    kilopackets: float
    """Of 64 bytes that arrived, a second."""
    cpu_per_megapacket: float
    """Seconds of daemons and source; what the kernel does by itself is the source's mostly."""
    round_trip: float
    """Median, in microseconds."""
    round_trip_p99: float


@dataclass(frozen=True, slots=True)
class Way:
    """From node 1 to an address of node 2."""

    name: str
    source: str
    """Path of the namespace."""
    sink: str
    address: str
    daemons: Sequence[int]
    """Process ids of what carries."""


def measure(way: Way, seconds: float) -> Figures:
    """All figures of one way."""
    with _Role(way.sink, "tcp-sink", way.address) as sink:
        before = _cpu_of(way.daemons)
        sent = _run(way.source, "tcp-source", way.address, sink.port, seconds)
        received = sink.end()
        tcp_cpu = _cpu_of(way.daemons) - before + sent["cpu"] + received["cpu"]
    with _Role(way.sink, "flood-sink", way.address) as sink:
        before = _cpu_of(way.daemons)
        flood = _run(way.source, "flood-source", way.address, sink.port, seconds)
        arrived = sink.end()["packets"]
        flood_cpu = _cpu_of(way.daemons) - before + flood["cpu"]
    trips = _run(way.source, "round-trips", way.address, 1000)
    return Figures(
        way.name,
        sent["bits_per_second"] / 1e9,
        tcp_cpu / (sent["bytes"] / 1e9),
        arrived / flood["seconds"] / 1e3,
        flood_cpu / (max(arrived, 1) / 1e6),
        trips["median"] * 1e6,
        trips["p99"] * 1e6,
    )


class _Role:
    """A sink that runs beside its source."""

    def __init__(self, netns: str, *arguments: object) -> None:
        self._process = _spawn(netns, *arguments)
        assert self._process.stdout is not None
        self.port = int(json.loads(self._process.stdout.readline())["port"])

    def __enter__(self) -> "_Role":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def end(self) -> dict[str, Any]:
        """Let it end and take what it says."""
        output, _ = self._process.communicate("\n", timeout=60)
        facts: dict[str, Any] = json.loads(output)
        return facts


def _spawn(netns: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.udp_traffic", netns, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _run(netns: str, *arguments: object) -> dict[str, Any]:
    with _spawn(netns, *arguments) as process:
        output, _ = process.communicate(timeout=60)
    if process.returncode != 0:
        raise SystemExit(f"the traffic {arguments[0]} failed")
    facts: dict[str, Any] = json.loads(output)
    return facts


def _cpu_of(processes: Sequence[int]) -> float:
    """Seconds that these processes have used."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
        total += sum(map(int, fields.split()[11:13]))
    return total / _CLOCK


async def measure_ours(spec: LabSpec, name: str, seconds: float) -> list[Figures]:
    """A lab of our daemons; with vxlan the bare underlay goes first, for it needs one too."""
    lab = await Lab.up(spec, instance=INSTANCE)
    try:
        matrix = await lab.wait_connected()
        if not matrix.complete:
            raise SystemExit(f"{name}: the pods do not answer")
        ways = [_way(lab, name, await _overlay_address(lab), daemons=_daemons(lab))]
        if spec.backend == "vxlan":
            underlay = str(spec.underlay_addresses(2)[0].address)
            ways.insert(0, _way(lab, "bare veth", underlay))
        return [await asyncio.to_thread(measure, way, seconds) for way in ways]
    finally:
        await lab.down()


async def measure_flanneld(flanneld: str, seconds: float) -> list[Figures]:
    """The same lab with its daemons replaced by flanneld's, on an etcd."""
    spec = LabSpec(nodes=2, backend="udp", store="etcd", backend_options={"Datapath": "userspace"})
    lab = await Lab.up(spec, instance=INSTANCE)
    try:
        address = await _overlay_address(lab)
        async with _flannelds(lab, flanneld) as processes:
            way = _way(lab, "flanneld udp", address, daemons=processes)
            return [await asyncio.to_thread(measure, way, seconds)]
    finally:
        await lab.down()


@asynccontextmanager
async def _flannelds(lab: Lab, flanneld: str) -> AsyncIterator[list[int]]:
    started = []
    try:
        for number in (1, 2):
            await lab.stop_daemon(number)
            namespace = lab.names.node(number)
            await ip_batch(["link del flannel0"], netns=namespace)
            files = NodeFiles(lab.directory, number)
            files.subnet_file.unlink()
            endpoints = lab.spec.store_options["endpoints"]
            command = [
                *(flanneld, f"--etcd-endpoints={endpoints}", f"--iface={UNDERLAY_LINK}"),
                *(f"--subnet-file={files.subnet_file}", "--iptables-forward-rules=false"),
            ]
            started.append(spawn_daemon(command, namespace, files))
            await eventually(files.subnet_file.exists, "flanneld writes subnet.env", _READY)
        matrix = await lab.wait_connected()
        if not matrix.complete:
            raise SystemExit("flanneld's pods do not answer")
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


async def _overlay_address(lab: Lab) -> str:
    """The address of node 2's device: the base address of its subnet."""
    gateway = lab.node(2).pod_addresses[0]
    return str(gateway.masked().address)


def _daemons(lab: Lab) -> list[int]:
    found = [lab.node(number).process for number in (1, 2)]
    return [process.pid for process in found if process is not None]


def _way(lab: Lab, name: str, address: str, daemons: Sequence[int] = ()) -> Way:
    source, sink = (netns_path(lab.names.node(number)) for number in (1, 2))
    return Way(name, source, sink, address, daemons)


async def measure_all(flannelds: Sequence[str], seconds: float) -> list[Figures]:
    """Every way that works here, in the order in which they are printed."""
    found = await measure_ours(LabSpec(nodes=2, backend="vxlan"), "vxlan", seconds)
    for datapath in ("kernel", "userspace"):
        spec = LabSpec(nodes=2, backend="udp", backend_options={"Datapath": datapath})
        try:
            found += await measure_ours(spec, f"udp {datapath}", seconds)
        except FlannelError as error:
            print(f"udp {datapath}: {error}", file=sys.stderr)
    for flanneld in flannelds:
        found += await measure_flanneld(flanneld, seconds)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each flow (default: 3)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    args = parser.parse_args()
    flannelds = [name for name in os.environ.get("FLANNELD", "").split(":") if name]
    figures = asyncio.run(measure_all(flannelds, args.seconds))
    if args.json:
        print(json.dumps([asdict(one) for one in figures], indent=2))
        return
    columns: list[str | Column] = [
        "WAY",
        *(Column(name, right=True) for name in (
            "TCP GBIT/S", "CPU S/GB", "KPPS 64 B", "CPU S/MPKT", "RTT US", "P99 US"
        )),
    ]  # fmt: skip
    rows = [
        (
            one.way, f"{one.gigabits:.2f}", f"{one.cpu_per_gigabyte:.2f}", f"{one.kilopackets:.0f}",
            f"{one.cpu_per_megapacket:.1f}", f"{one.round_trip:.0f}", f"{one.round_trip_p99:.0f}",
        )
        for one in figures
    ]  # fmt: skip
    print_table(columns, rows)
    if not flannelds:
        print("flanneld was not measured: FLANNELD=/path/to/flanneld names one")


if __name__ == "__main__":
    main()
