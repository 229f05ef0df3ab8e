"""TUN devices, which are made and read through /dev/net/tun and not through netlink."""

import errno
import fcntl
import os
from struct import pack
from typing import Final

from flannel_sdk.dataplane.refusals import refusal
from flannel_sdk.errors import FlannelError, KernelRefused, KernelUnsupported

TUN: Final = "tun"
"""``Device.kind`` of a TUN device: IP packets without a link-layer header."""
_PATH = "/dev/net/tun"
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_TUNSETOFFLOAD = 0x400454D0
_TUNGETIFF = 0x800454D2
_OFFLOADS = 0x01 | 0x02 | 0x08
"""Checksums, and TCP over IPv4 in packets of up to 64 KiB, with ECN too."""


def open_tun(name: str) -> int:
    """A descriptor of the TUN device ``name`` in the calling thread's namespace, made if need be.

    Each read and write is one packet behind a ``virtio_net_hdr`` of 10 bytes in host byte order
    (linux/if_tun.h); TCP packets of IPv4 may be large, and checksums left to be made. The device is
    persistent: it outlives the descriptor, but is without a carrier then. Not blocking.
    KernelRefused while another descriptor is open, PrivilegeError without CAP_NET_ADMIN,
    KernelUnsupported where there is no /dev/net/tun.
    """
    try:
        return _open(name)
    except OSError as error:
        raise _refused(name, error) from error


def _open(name: str) -> int:
    descriptor = os.open(_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(descriptor, _TUNSETIFF, pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
        fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _OFFLOADS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def tun_name(descriptor: int) -> str | None:
    """What the device of ``open_tun`` is called now; None if it is gone."""
    try:
        answer = fcntl.ioctl(descriptor, _TUNGETIFF, bytes(40))
    except OSError:
        return None
    return answer[:16].partition(b"\0")[0].decode(errors="replace")


def make_tun(name: str) -> None:
    """Create a TUN device, down, that stays; errors as ``open_tun``."""
    os.close(open_tun(name))


def _refused(name: str, error: OSError) -> FlannelError:
    number = error.errno or 0
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return KernelUnsupported(
            "there is no /dev/net/tun: load the kernel's tun module (modprobe tun), or give the"
            " container that device",
            number,
        )
    if number == errno.EBUSY:
        return KernelRefused(
            f"another program has the TUN device {name} open: stop it (flanneld?)", number
        )
    if number == errno.EACCES:
        number = errno.EPERM
    return refusal(f"open the TUN device {name}", number, error.strerror or str(error))
