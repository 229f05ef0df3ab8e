"""The kernel's data path: two tc programs in eBPF, loaded and kept by us."""

from flannel_sdk_udp.datapath import KernelDatapath, Tunnel


def open_kernel_path(tunnel: Tunnel) -> KernelDatapath:
    """The path of one tunnel, without I/O; each object serves from one attach to its aclose."""
    from flannel_sdk_udp.ebpf.path import KernelPath

    return KernelPath(tunnel)
