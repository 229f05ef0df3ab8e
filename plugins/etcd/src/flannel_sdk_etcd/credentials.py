"""The TLS files: read when needed, checked, and read again when they changed on disk."""

import asyncio
import os
import ssl
import time
from pathlib import Path
from typing import NamedTuple

from flannel_sdk.errors import ConfigError
from flannel_sdk_etcd.grpc_library import grpc
from flannel_sdk_etcd.options import EtcdOptions

_LOOK_SECONDS = 1.0
# Where distributions keep the CAs of the system; no variable of the environment moves them.
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

Stamp = tuple[int, int, int, int]


class Credentials(NamedTuple):
    """What a channel is made with; ``grpc`` is None for plain HTTP."""

    grpc: grpc.ChannelCredentials | None
    stamps: tuple[Stamp | None, ...] = ()
    """Which state of the files they are."""


class CredentialFiles:
    """The files that the options name, and the newest credentials that could be made of them."""

    def __init__(self, options: EtcdOptions) -> None:
        self._files = _named_files(options)
        self._current: Credentials | None = None
        if not options.members()[0].secure:
            self._current = Credentials(None)
            self._files = {}
        self._looked_at = -_LOOK_SECONDS
        self._reading = asyncio.Lock()

    async def current(self) -> Credentials:
        """The same object as before unless the files changed since (looked at once a second).

        ConfigError names the file that cannot be used. Files that were replaced by unusable ones,
        or half-way, are no error: the last good ones stay until the new ones are complete.
        """
        if (present := self._unchanged()) is not None:
            return present
        # One reader: what each of many callers read would be others' reason for a new connection.
        async with self._reading:
            if (present := self._unchanged()) is not None:
                return present
            try:
                self._current = await asyncio.to_thread(self._loaded)
            except ConfigError:
                if self._current is None:
                    raise
            self._looked_at = time.monotonic()
            return self._current

    def _unchanged(self) -> Credentials | None:
        """The present ones, if they are what the files hold."""
        if self._current is None:
            return None
        if self._files and time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            if self._stamps() != self._current.stamps:
                return None
            self._looked_at = time.monotonic()
        return self._current

    def _stamps(self) -> tuple[Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._files.values())

    def _loaded(self) -> Credentials:
        stamps = self._stamps()
        contents = {key: _content(key, path) for key, path in self._files.items()}
        _check(self._files, contents)
        loaded = grpc.ssl_channel_credentials(
            contents["ca_cert"], contents.get("cert_key"), contents.get("cert_cert")
        )
        return Credentials(loaded, stamps)


def _named_files(options: EtcdOptions) -> dict[str, Path]:
    """By option, in the order of reading."""
    files = {"ca_cert": options.ca_cert or _system_roots()}
    if options.cert_cert is not None and options.cert_key is not None:
        files |= {"cert_cert": options.cert_cert, "cert_key": options.cert_key}
    return files


def _system_roots() -> Path:
    return next(
        (path for path in map(Path, _SYSTEM_ROOTS) if path.exists()), Path(_SYSTEM_ROOTS[0])
    )


def _stamp(path: Path) -> Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _content(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(key, f"{key} {path} cannot be read: {error.strerror}.") from error


def _check(files: dict[str, Path], contents: dict[str, bytes]) -> None:
    """Have OpenSSL say what is wrong with them, which gRPC does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=contents["ca_cert"].decode("latin-1"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("ca_cert", f"ca_cert {files['ca_cert']} holds no CA in PEM.") from error
    if "cert_cert" not in files:
        return
    try:
        context.load_cert_chain(files["cert_cert"], files["cert_key"], password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            "cert_cert",
            f"cert_cert {files['cert_cert']} and cert_key {files['cert_key']} are not a"
            " certificate in PEM and its private key without a password.",
        ) from error


def _no_password() -> str:
    raise ValueError("the private key is encrypted")
