"""The socket of the health endpoints, and a sentence where it cannot be had."""

import errno
import socket
from collections.abc import Iterator

from flannel_sdk.errors import ConfigError
from flannel_sdk.health.options import HealthOptions


def bind_listener(options: HealthOptions) -> socket.socket:
    """A listening TCP socket of the process's own network namespace; ConfigError names the flag.

    May block while a name is looked up.
    """
    refusal: OSError | None = None
    for family, place in _places(options):
        try:
            return _listening(family, place)
        except OSError as error:
            refusal = refusal or error
    raise _refused(options, refusal or OSError(errno.EADDRNOTAVAIL, "there is no such address"))


def _places(options: HealthOptions) -> Iterator[tuple[int, tuple[str, int]]]:
    """What ``ip`` stands for; all addresses are both families', or IPv4's where there is no IPv6.

    Also 0.0.0.0, which Go takes so: kubelet asks a node that has only IPv6 by that.
    """
    if options.ip in {"", "0.0.0.0", "::"}:
        yield socket.AF_INET6, ("::", options.port)
        yield socket.AF_INET, ("0.0.0.0", options.port)
        return
    try:
        found = socket.getaddrinfo(options.ip, options.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise ConfigError(
            "healthz-ip",
            f"cannot answer health checks on {options.ip!r}: it is no address of this machine"
            f" ({error.strerror}); give another --healthz-ip",
        ) from error
    for family, _, _, _, place in found:
        yield family, (str(place[0]), options.port)


def _listening(family: int, place: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(place)
        listener.listen(64)  # here, for only this finds out that a port is taken
    except OSError:
        listener.close()
        raise
    return listener


def _refused(options: HealthOptions, error: OSError) -> ConfigError:
    subject = f"cannot answer health checks on {options.ip or 'all addresses'} port {options.port}"
    if error.errno == errno.EADDRINUSE:
        text = f"{subject}: another process listens there; give another --healthz-port"
        return ConfigError("healthz-port", text)
    if error.errno == errno.EADDRNOTAVAIL:
        text = f"{subject}: this machine has no such address; give another --healthz-ip"
        return ConfigError("healthz-ip", text)
    text = f"{subject}: {error.strerror or error}; give another --healthz-port"
    return ConfigError("healthz-port", text)
