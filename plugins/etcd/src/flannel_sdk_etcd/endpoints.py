"""Where etcd listens: URLs, or the bare ``host:port`` that etcd's own tools take as well."""

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from flannel_sdk.errors import ConfigError

DEFAULT_PORT = 2379
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


class Endpoint(NamedTuple):
    """One address of one member, checked. ``str`` gives its URL, which holds no secret."""

    host: str
    """A name, an IPv4 address, or an IPv6 address without brackets."""
    port: int
    secure: bool
    """Whether TLS is spoken there."""

    @property
    def authority(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.authority}"


def parse_endpoints(key: str, texts: Sequence[str], *, has_tls_files: bool) -> tuple[Endpoint, ...]:
    """The endpoints that ``texts`` name, in order, each once.

    Without a scheme TLS is spoken where TLS files are configured. ConfigError with ``key`` where
    one cannot be read, where http and https are mixed, or where TLS files would not be used.
    """
    endpoints = tuple(
        dict.fromkeys(_parsed(key, text.strip(), bare_is_secure=has_tls_files) for text in texts)
    )
    if not endpoints:
        raise ConfigError(key, f"{key} names no endpoint of etcd.")
    secure = {endpoint.secure for endpoint in endpoints}
    if len(secure) > 1:
        raise ConfigError(
            key,
            f"{key} mixes http and https ({', '.join(map(str, endpoints))}): a cluster speaks one.",
        )
    if has_tls_files and not endpoints[0].secure:
        raise ConfigError(
            key,
            f"A CA or a client certificate is configured, but {key} speaks plain http"
            f" ({', '.join(map(str, endpoints))}): write https://, or leave the files out.",
        )
    return endpoints


def _parsed(key: str, text: str, *, bare_is_secure: bool) -> Endpoint:
    scheme, separator, rest = text.rpartition("://")
    if "@" in text:
        raise ConfigError(
            key,
            f"An endpoint in {key} holds a user name or a password before an @:"
            " give them as the user and password options.",
        )
    if separator and scheme.lower() not in {"http", "https"}:
        raise ConfigError(key, f"The endpoint {text!r} in {key} is not http:// or https://.")
    secure = scheme.lower() == "https" if separator else bare_is_secure
    authority = rest.removesuffix("/")
    host, port = _split(authority)
    if host is None or port is None or not 0 < port < 65536:
        raise ConfigError(
            key,
            f"The endpoint {text!r} in {key} cannot be read:"
            " it has to look like http://10.0.0.1:2379 or https://[fd00::1]:2379.",
        )
    return Endpoint(host, port, secure)


def _split(authority: str) -> tuple[str | None, int | None]:
    bracketed = re.fullmatch(r"\[([^\]%]*)\](?::([0-9]{1,5}))?", authority)
    if bracketed:
        try:
            host = str(IPv6Address(bracketed[1]))
        except AddressValueError:
            return None, None
        return host, int(bracketed[2] or DEFAULT_PORT)
    host, separator, port = authority.partition(":")
    if not _HOST.fullmatch(host) or (separator and not re.fullmatch(r"[0-9]{1,5}", port)):
        return None, None
    return host.lower(), int(port or DEFAULT_PORT)
