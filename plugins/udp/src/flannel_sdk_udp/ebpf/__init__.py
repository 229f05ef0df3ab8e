"""The kernel's data path: two tc programs in eBPF, loaded and kept by us."""

from flannel_sdk_udp.datapath import DatapathUnsupported, KernelDatapath, Tunnel


def open_kernel_path(tunnel: Tunnel) -> KernelDatapath:
    """The path of one tunnel, without I/O; each object serves from one attach to its aclose."""
    raise DatapathUnsupported("this release has no eBPF programs: set Backend.Datapath userspace")
