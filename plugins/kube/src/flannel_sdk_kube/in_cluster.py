"""The service account of a pod: token and CA from files that the kubelet keeps fresh."""

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret
from flannel_sdk_kube.credentials import Access, trusting

_LOOK_SECONDS: Final = 1.0

_Stamp = tuple[int, int, int, int]


class ServiceAccount:
    """Credentials of the pod that this process runs in."""

    key = "service_account"

    def __init__(self, host: str, port: int, directory: Path) -> None:
        bare_ipv6 = ":" in host and not host.startswith("[")
        self.place = self.server = f"https://{f'[{host}]' if bare_ipv6 else host}:{port}"
        self.called = f"the service account token of {directory}"
        self.trusts = f"{directory}/ca.crt"
        self._files = (directory / "token", directory / "ca.crt")
        self._stamps: tuple[_Stamp | None, ...] = ()
        self._looked_at = 0.0
        self._authority = ""
        self._access: Access | None = None

    async def current(self) -> Access:
        """See Credentials. Files are looked at once a second, and read where they changed.

        Files that went missing or bad after they were good are no error: the last good ones stay.
        """
        if self._access is None:
            return await self._read()
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            if self._look() != self._stamps:
                return await self._read_if_good(self._access)
            self._looked_at = time.monotonic()
        return self._access

    async def renewed(self, refused: Access) -> Access | None:
        """See Credentials."""
        access = await self._read_if_good(refused)
        is_same = access.authorization == refused.authorization and access.tls is refused.tls
        return None if is_same else access

    async def _read_if_good(self, otherwise: Access) -> Access:
        try:
            return await self._read()
        except ConfigError:
            return otherwise

    async def _read(self) -> Access:
        self._looked_at = time.monotonic()
        self._access = access = await asyncio.to_thread(self._read_files)
        return access

    def _read_files(self) -> Access:
        stamps = self._look()
        token, authority = (_text(path) for path in self._files)
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError(self.key, f"{self._files[0]} holds no token.")
        known = self._access
        if known is not None and authority == self._authority:
            tls = known.tls
        else:
            tls = trusting(self.key, str(self._files[1]), authority)
        self._stamps, self._authority = stamps, authority
        return Access(self.place, tls, Secret(f"Bearer {token}"))

    def _look(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(
            "service_account",
            f"{path} cannot be read ({error.strerror}): run in a pod that mounts the token of its"
            " service account, or give a kubeconfig.",
        ) from error
