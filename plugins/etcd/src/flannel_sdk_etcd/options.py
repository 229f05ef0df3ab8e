"""Options of the etcd store: flanneld's flags, and ``etcd3.client()``'s names for the same."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret, option_metadata
from flannel_sdk_etcd.endpoints import DEFAULT_PORT, Endpoint, parse_endpoints

DEFAULT_PREFIX = "/coreos.com/network"
FLANNELS_ENDPOINTS = ("http://127.0.0.1:4001", "http://127.0.0.1:2379")
_TIMEOUT = 5.0

GrpcOptions = tuple[str, ...] | Mapping[str, str | int] | Iterable[tuple[str, str | int]]
"""``name=value`` texts, or names and values as ``etcd3.client()`` takes them."""


@dataclass(frozen=True, slots=True)
class EtcdOptions:
    """Options of the ``etcd`` store, checked when made: ConfigError names the wrong one.

    Nothing is read from the environment except by ``from_environ``, and no file is opened.
    """

    endpoints: tuple[str, ...] = field(
        default=(),
        metadata=option_metadata(
            "Endpoints of the members, by comma; without any: host and port if given,"
            f" else {','.join(FLANNELS_ENDPOINTS)}.",
            "URL,URL",
            flag="etcd-endpoints",
        ),
    )
    prefix: str = field(
        default=DEFAULT_PREFIX,
        metadata=option_metadata("Key that the network lives below.", "KEY", flag="etcd-prefix"),
    )
    ca_cert: Path | None = field(
        default=None,
        metadata=option_metadata(
            "CA certificates that the members are trusted by.", "FILE", flag="etcd-cafile"
        ),
    )
    cert_key: Path | None = field(
        default=None,
        metadata=option_metadata(
            "Private key of the client certificate.", "FILE", flag="etcd-keyfile"
        ),
    )
    cert_cert: Path | None = field(
        default=None, metadata=option_metadata("Client certificate.", "FILE", flag="etcd-certfile")
    )
    user: str | None = field(
        default=None,
        metadata=option_metadata("User to authenticate as.", "NAME", flag="etcd-username"),
    )
    password: Secret | None = field(
        default=None,
        metadata=option_metadata("The user's password.", "PASSWORD", flag="etcd-password"),
    )
    host: str | None = field(
        default=None,
        metadata=option_metadata("Host of the only member; endpoints is for several.", "HOST"),
    )
    port: int = field(default=DEFAULT_PORT, metadata=option_metadata("Port on that host.", "PORT"))
    timeout: float = field(
        default=_TIMEOUT,
        metadata=option_metadata("Seconds that one call may take in all.", "SECONDS"),
    )
    grpc_options: GrpcOptions = field(
        default=(),
        metadata=option_metadata("Channel arguments of gRPC, by comma.", "NAME=VALUE,.."),
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """What flanneld's variables say (``FLANNELD_ETCD_ENDPOINTS``, ..); empty ones are unset."""

        def told(name: str) -> str | None:
            flag = next(option.metadata["flag"] for option in fields(cls) if option.name == name)
            return environ.get("FLANNELD_" + flag.upper().replace("-", "_")) or None

        password = told("password")
        return cls(
            endpoints=tuple((told("endpoints") or "").split(",")),
            prefix=told("prefix") or DEFAULT_PREFIX,
            ca_cert=_path(told("ca_cert")),
            cert_key=_path(told("cert_key")),
            cert_cert=_path(told("cert_cert")),
            user=told("user"),
            password=None if password is None else Secret(password),
        )

    def __post_init__(self) -> None:
        texts = tuple(text.strip() for text in self.endpoints if text.strip())
        object.__setattr__(self, "endpoints", texts)
        for name in ("ca_cert", "cert_key", "cert_cert"):
            object.__setattr__(self, name, _path(getattr(self, name)))
        object.__setattr__(self, "password", _secret(self.password))
        for name in ("user", "host"):
            object.__setattr__(self, name, getattr(self, name) or None)
        object.__setattr__(self, "timeout", _seconds(self.timeout))
        object.__setattr__(self, "grpc_options", tuple(_grpc_texts(self.grpc_options)))
        self._check_texts()
        self._check_numbers()
        self._check_pairs()
        self.members()
        self.channel_arguments()

    def members(self) -> tuple[Endpoint, ...]:
        """The endpoints that the options name, in order."""
        key, texts = "endpoints", self.endpoints
        if not texts and (self.host is not None or self.port != DEFAULT_PORT):
            host = self.host or "localhost"
            bare_ipv6 = ":" in host and not host.startswith("[")
            key, texts = "host", (f"{f'[{host}]' if bare_ipv6 else host}:{self.port}",)
        has_tls_files = self.ca_cert is not None or self.cert_cert is not None
        return parse_endpoints(key, texts or FLANNELS_ENDPOINTS, has_tls_files=has_tls_files)

    def channel_arguments(self) -> list[tuple[str, str | int]]:
        """``grpc_options`` as gRPC takes them: whole numbers as numbers."""
        return [_channel_argument(text) for text in _grpc_texts(self.grpc_options)]

    def _check_texts(self) -> None:
        password = self.password.reveal() if self.password else ""
        for key, text in (
            ("prefix", self.prefix),
            ("user", self.user or ""),
            ("password", password),
        ):
            if not _is_utf8(text):
                raise ConfigError(key, f"{key} holds bytes that are not UTF-8.")

    def _check_numbers(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError("port", f"port is {self.port} and has to be from 1 to 65535.")
        if not 0 < self.timeout < math.inf:
            raise ConfigError("timeout", f"timeout is {self.timeout} and has to be above 0.")

    def _check_pairs(self) -> None:
        if self.endpoints and self.host is not None:
            raise ConfigError("host", "endpoints and host are both given: one names the members.")
        for one, other in (
            ("cert_cert", "cert_key"),
            ("cert_key", "cert_cert"),
            ("user", "password"),
            ("password", "user"),
        ):
            if getattr(self, one) is not None and getattr(self, other) is None:
                raise ConfigError(other, f"{one} is given without {other}: both or neither.")


def _path(value: object) -> Path | None:
    """None also for the empty text, which a Path calls the present directory."""
    return None if value is None or str(value) in {"", "."} else Path(str(value))


def _secret(value: object) -> Secret | None:
    """Also of a plain text, so that a caller's mistake does not put it into a repr."""
    if not value:
        return None
    return value if isinstance(value, Secret) else Secret(str(value))


def _seconds(value: object) -> object:
    """None is how ``etcd3.client()`` says nothing."""
    return _TIMEOUT if value is None else value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # it holds the text
        return False
    return True


def _grpc_texts(options: GrpcOptions | None) -> list[str]:
    if options is None:
        return []
    pairs = options.items() if isinstance(options, Mapping) else options
    return [pair if isinstance(pair, str) else "=".join(map(str, pair)) for pair in pairs]


def _channel_argument(text: str) -> tuple[str, str | int]:
    name, separator, value = text.partition("=")
    if not name.strip() or not separator:
        raise ConfigError("grpc_options", f"grpc_options holds {text!r}, which is not NAME=VALUE.")
    number = value.strip().removeprefix("-")
    return name.strip(), int(value) if number.isdecimal() else value
