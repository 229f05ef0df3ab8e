"""The data path in userspace: two threads, no compiler, nothing but /dev/net/tun and a socket."""

from flannel_sdk_udp.userspace.path import UserspacePath, bound_socket

__all__ = ["UserspacePath", "bound_socket"]
