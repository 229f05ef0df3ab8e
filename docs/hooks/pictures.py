"""The documentation's pictures; ``python -m docs.hooks.pictures`` writes them into docs/images."""

from collections.abc import Callable
from pathlib import Path

from docs.hooks.drawing import Box, Drawing

IMAGES = Path(__file__).parents[1] / "images"


def architecture() -> Drawing:
    """From the store to the kernel, one way."""
    drawing = Drawing(900, 300, "State flows one way, from the store to the kernel")
    store = drawing.box(
        Box(10, 40, 120, 70), "store", "etcd, Kubernetes,", "sqlite, memory", kind="wire"
    )
    manager = drawing.box(Box(215, 40, 140, 70), "SubnetManager", "plugin", kind="user")
    feed = drawing.box(Box(485, 40, 130, 70), "PeerFeed", "newest lease", "of each peer")
    network = drawing.box(Box(740, 40, 140, 70), "Network.run", "plugin", kind="user")
    drawing.box(Box(485, 200, 130, 70), "Reconciler", "compares, batches,", "retries, repairs")
    drawing.box(Box(10, 200, 120, 70), "kernel", "routes, FDB,", "neighbours", kind="wire")
    drawing.arrow(store.right(), manager.left(), "watch")
    drawing.arrow(manager.right(), feed.left(), "Snapshot | Delta")
    drawing.arrow(feed.right(), network.left(), "PeerUpdate")
    drawing.arrow(network.bottom(), (615, 225))
    drawing.words(815, 165, "objects that each peer needs")
    drawing.arrow((485, 225), (130, 225), "netlink batches")
    drawing.arrow(
        (130, 255), (485, 255), "notifications: what somebody took away comes back", back=True
    )
    return drawing


def _two_nodes(title: str, height: int = 290) -> Drawing:
    drawing = Drawing(900, height, title)
    drawing.frame(Box(10, 10, 400, height - 20), "node A, subnet 10.5.1.0/24")
    drawing.frame(Box(490, 10, 400, height - 20), "node B, subnet 10.5.2.0/24")
    return drawing


def vxlan() -> Drawing:
    """A packet between pods through vxlan devices."""
    drawing = _two_nodes("The path of a packet with the vxlan backend")
    pod_a = drawing.box(Box(30, 45, 110, 55), "pod", "10.5.1.7", kind="user")
    route_a = drawing.box(
        Box(200, 40, 190, 62), "route", "10.5.2.0/24 via 10.5.2.0", "dev flannel.1"
    )
    vtep_a = drawing.box(
        Box(200, 130, 190, 60), "flannel.1 (VTEP)", "neighbour: MAC of B", "FDB: that MAC is at B"
    )
    eth_a = drawing.box(Box(200, 220, 190, 45), "eth0 192.0.2.1")
    eth_b = drawing.box(Box(510, 220, 190, 45), "eth0 192.0.2.2")
    vtep_b = drawing.box(Box(510, 130, 190, 60), "flannel.1 (VTEP)", "unpacks")
    pod_b = drawing.box(Box(760, 45, 110, 55), "pod", "10.5.2.9", kind="user")
    route_b = drawing.box(Box(510, 45, 190, 55), "route", "10.5.2.0/24 dev bridge")
    drawing.arrow(pod_a.right(), route_a.left())
    drawing.arrow(route_a.bottom(), vtep_a.top())
    drawing.arrow(vtep_a.bottom(), eth_a.top())
    drawing.arrow(eth_a.right(), eth_b.left(), "UDP 8472")
    drawing.arrow(eth_b.top(), vtep_b.bottom())
    drawing.arrow(vtep_b.top(), route_b.bottom())
    drawing.arrow(route_b.right(), pod_b.left())
    return drawing


def host_gw() -> Drawing:
    """A packet between pods by routes alone."""
    drawing = _two_nodes("The path of a packet with the host-gw backend", 200)
    pod_a = drawing.box(Box(30, 45, 110, 55), "pod", "10.5.1.7", kind="user")
    route_a = drawing.box(Box(200, 45, 190, 55), "route", "10.5.2.0/24 via 192.0.2.2")
    eth_a = drawing.box(Box(200, 130, 190, 45), "eth0 192.0.2.1")
    eth_b = drawing.box(Box(510, 130, 190, 45), "eth0 192.0.2.2")
    route_b = drawing.box(Box(510, 45, 190, 55), "route", "10.5.2.0/24 dev bridge")
    pod_b = drawing.box(Box(760, 45, 110, 55), "pod", "10.5.2.9", kind="user")
    drawing.arrow(pod_a.right(), route_a.left())
    drawing.arrow(route_a.bottom(), eth_a.top())
    drawing.arrow(eth_a.right(), eth_b.left(), "as it is")
    drawing.arrow(eth_b.top(), route_b.bottom())
    drawing.arrow(route_b.right(), pod_b.left())
    return drawing


def udp() -> Drawing:
    """A packet between pods through the udp backend: by the kernel, or by the daemon."""
    drawing = _two_nodes("The two paths of a packet with the udp backend")
    pod_a = drawing.box(Box(30, 45, 100, 55), "pod", "10.5.1.7", kind="user")
    tun_a = drawing.box(Box(230, 45, 160, 55), "flannel0", "route 10.5.0.0/16")
    drawing.box(Box(30, 130, 150, 60), "userspace", "daemon's threads", kind="user")
    bpf_a = drawing.box(Box(230, 130, 160, 60), "kernel", "eBPF adds IP, UDP")
    eth_a = drawing.box(Box(230, 220, 160, 45), "eth0 192.0.2.1")
    eth_b = drawing.box(Box(510, 220, 160, 45), "eth0 192.0.2.2")
    bpf_b = drawing.box(Box(510, 130, 160, 60), "kernel", "eBPF checks, strips")
    drawing.box(Box(725, 130, 150, 60), "userspace", "daemon's threads", kind="user")
    tun_b = drawing.box(Box(510, 45, 160, 55), "flannel0")
    pod_b = drawing.box(Box(770, 45, 100, 55), "pod", "10.5.2.9", kind="user")
    drawing.arrow(pod_a.right(), tun_a.left())
    drawing.arrow(tun_a.bottom(), bpf_a.top())
    drawing.arrow((235, 100), (150, 130), back=True)
    drawing.arrow((150, 190), (235, 225), back=True)
    drawing.arrow(bpf_a.bottom(), eth_a.top())
    drawing.arrow(eth_a.right(), eth_b.left(), "UDP 8285")
    drawing.arrow(eth_b.top(), bpf_b.bottom())
    drawing.arrow(bpf_b.top(), tun_b.bottom())
    drawing.arrow((665, 225), (755, 190), back=True)
    drawing.arrow((755, 130), (665, 100), back=True)
    drawing.arrow(tun_b.right(), pod_b.left())
    return drawing


PICTURES: dict[str, Callable[[], Drawing]] = {
    "architecture.svg": architecture,
    "path-vxlan.svg": vxlan,
    "path-host-gw.svg": host_gw,
    "path-udp.svg": udp,
}


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
