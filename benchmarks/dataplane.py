"""The data plane against the floor: prebuilt objects of N peers into the kernel, and beyond.

For each N, the floor and a full update measured in turn, several times; then a restart, the
deletion of the device, and one peer at a time. Best and median are printed.
"""

import asyncio
import statistics
import sys
import time

from benchmarks.floor import floor
from flannel_sdk.dataplane import (
    Device,
    FdbEntry,
    InterfaceAddress,
    KernelObject,
    LinuxKernel,
    Neighbour,
    Ownership,
    Reconciler,
    Route,
)
from flannel_sdk.model import IPAddress, MacAddress, Prefix
from flannel_sdk.testing.namespaces import Namespace, namespace

DEVICE = "flannel.1"
OWNERSHIP = Ownership(frozenset({DEVICE}), (Prefix.parse("10.0.0.0/8"),))
ATTRIBUTES = (
    ("vxlan_id", 1), ("vxlan_port", 8472), ("vxlan_local", "192.168.0.1"), ("vxlan_learning", 0),
)  # fmt: skip
NODE: list[KernelObject] = [
    Device(DEVICE, "vxlan", 1450, MacAddress.parse("02:aa:00:00:00:01"), "eth0", ATTRIBUTES),
    InterfaceAddress(DEVICE, Prefix.parse("10.0.0.0/32")),
]
Peers = list[tuple[Prefix, tuple[KernelObject, ...]]]


def build(count: int) -> Peers:
    """The objects of ``count`` peers."""
    peers: Peers = []
    for number in range(1, count + 1):
        gateway = IPAddress((0x0A000000 + (number << 8)).to_bytes(4, "big"))
        public = IPAddress((0xC0A80000 + number + 1).to_bytes(4, "big"))
        mac = MacAddress(b"\x02\x00" + number.to_bytes(4, "big"))
        subnet = Prefix(gateway, 24)
        objects = (
            Neighbour(DEVICE, gateway, mac),
            FdbEntry(DEVICE, mac, public),
            Route(subnet, DEVICE, gateway, True),
        )
        peers.append((subnet, objects))
    return peers


async def start(netns: Namespace, peers: Peers) -> tuple[LinuxKernel, Reconciler, float, float]:
    """A full update; its seconds, and those of processor time in the event loop's thread."""
    kernel = LinuxKernel(netns.path)
    made = Reconciler(kernel, OWNERSHIP)
    await made.set_node(NODE)
    begin, cpu = time.perf_counter(), time.thread_time()
    await made.update(peers, full=True)
    return kernel, made, time.perf_counter() - begin, time.thread_time() - cpu


async def measure(count: int) -> dict[str, float]:
    """Seconds of one round."""
    peers = build(count)
    result = {"floor": await asyncio.to_thread(floor, count)}
    with namespace("dp") as netns:
        netns.add_veth("eth0", "192.168.0.1/16")
        kernel, made, result["update"], result["loop cpu"] = await start(netns, peers)
        assert made.status()["written"] == 3 * count + 2
        await kernel.aclose()
        kernel, made, result["restart"], _ = await start(netns, peers)
        assert made.status()["written"] == 0
        runner = asyncio.create_task(made.run())
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        await asyncio.to_thread(netns.ip, f"link delete {DEVICE}")
        result["deletion"] = time.perf_counter() - begin
        while not made.status()["repaired"]:  # noqa: ASYNC110 - it is the kernel that is waited for
            await asyncio.sleep(0.001)
        while await asyncio.to_thread(routes, netns) < count:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        result["device back"] = time.perf_counter() - begin
        times = []
        for key, objects in build(count + 100)[-100:]:
            begin = time.perf_counter()
            await made.update([(key, objects)], full=False)
            times.append(time.perf_counter() - begin)
        result["one peer p50"] = statistics.median(times)
        result["one peer max"] = max(times)
        runner.cancel()
        await asyncio.gather(runner, return_exceptions=True)
        await kernel.aclose()
    return result


def routes(netns: Namespace) -> int:
    """How many routes of ours there are."""
    return netns.ip("route show proto 102").count("\n")


def main() -> None:
    """Print a table."""
    for count in map(int, sys.argv[1:] or ["1000", "10000"]):
        rounds = [asyncio.run(measure(count)) for _ in range(3)]
        print(f"{count} peers" + " " * 14 + "best    median")
        for name in rounds[0]:
            values = [one[name] for one in rounds]
            print(f"  {name:<16} {min(values):8.4f}  {statistics.median(values):8.4f} s")
        best = {name: min(one[name] for one in rounds) for name in rounds[0]}
        ratio, each = best["update"] / best["floor"], best["loop cpu"] / count * 1e6
        print(f"  update / floor {ratio:.2f}, event loop {each:.1f} us a peer\n")


if __name__ == "__main__":
    main()
