"""A kubeconfig, read by the kubernetes package, which knows every way to be somebody.

The package is imported here alone, and runs in threads of its own: it costs more than a second of
CPU, and credential plugins may take their time.
"""

import logging
import os
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import urlsplit

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret
from flannel_sdk_kube.credentials import Access, trusting
from flannel_sdk_kube.failures import CallFailed, Failure
from flannel_sdk_kube.options import server_url
from flannel_sdk_kube.own_thread import SharedWork

# What the package says is repeated only where it cannot hold a piece of the file.
_LACKING_KEY = re.compile(r"Expected key (\S+) in")
_LACKING_NAME = re.compile(r"Expected object with name (\S+) in \S*(contexts|clusters|users) list")
_MISSING_FILE = re.compile(r"File does not exist: (.+)")

# Threads that import the same packages at once may each see the other's half.
_IMPORT = threading.Lock()


class _Taken:
    """What the package is given to fill; its own Configuration would also read the environment."""

    def __init__(self) -> None:
        self.host: str | None = None
        self.api_key: dict[str, str] = {}
        self.refresh_api_key_hook: Callable[[_Taken], None] | None = None
        self.ssl_ca_cert: str | None = None
        self.cert_file: str | None = None
        self.key_file: str | None = None
        self.verify_ssl = True
        self.tls_server_name: str | None = None
        self.proxy: str | None = None

    def authorization(self) -> Secret | None:
        """The header, as the package would send it."""
        header = self.api_key.get("BearerToken", self.api_key.get("authorization"))
        return Secret(header.strip()) if header else None


class _Loaded(NamedTuple):
    taken: _Taken
    access: Access
    certificates: bytes
    """The CA's and the client's, to tell whether loading again gave others."""


class Kubeconfig:
    """Credentials of the current context of a kubeconfig; ``server`` replaces the one in it."""

    key = "kubeconfig"

    def __init__(self, path: Path, server: str | None = None) -> None:
        self.place = server or str(path)
        self.server = server or f"of kubeconfig {path}"
        self.called = f"the credentials in kubeconfig {path}"
        self.trusts = f"the certificate-authority in kubeconfig {path}"
        self._path = path
        self._server = server
        self._loaded: _Loaded | None = None
        self._loading = SharedWork[_Loaded](f"kubeconfig {path}")
        self._refreshing = SharedWork[Access](f"kubeconfig {path}")

    async def current(self) -> Access:
        """See Credentials. A plugin whose credential has expired is run again."""
        loaded = self._loaded
        if loaded is None:
            loaded = await self._newly_loaded()
        if loaded.taken.refresh_api_key_hook is None:
            return loaded.access
        return await self._refreshing.result(lambda: self._refreshed(loaded))

    async def renewed(self, refused: Access) -> Access | None:
        """See Credentials. The file is read again, and its plugin run again."""
        before = self._loaded
        loaded = await self._newly_loaded()
        has_same = before is not None and before.certificates == loaded.certificates
        if has_same and loaded.access.authorization == refused.authorization:
            return None
        return loaded.access

    async def _newly_loaded(self) -> _Loaded:
        self._loaded = loaded = await self._loading.result(self._load)
        self.server = loaded.access.url
        return loaded

    def _load(self) -> _Loaded:
        taken = _Taken()
        with TemporaryDirectory(prefix="flannel-sdk-") as directory, _errors_logged() as errors:
            self._fill(taken, directory)
            if errors:
                raise self._plugin_failure(errors)
            access, certificates = self._access(taken)
        return _Loaded(taken, access, certificates)

    def _refreshed(self, loaded: _Loaded) -> Access:
        hook = loaded.taken.refresh_api_key_hook
        with _errors_logged() as errors:
            if hook is not None:
                hook(loaded.taken)
        if errors:
            raise self._plugin_failure(errors)
        return loaded.access._replace(authorization=_checked(self, loaded.taken.authorization()))

    def _fill(self, taken: _Taken, directory: str) -> None:
        try:
            self._path.read_bytes()
        except OSError as error:
            raise ConfigError(
                self.key, f"kubeconfig {self._path} cannot be read: {error.strerror}."
            ) from error
        with self._importing():
            from kubernetes.config import ConfigException, load_kube_config
        try:
            load_kube_config(  # type: ignore[no-untyped-call]  # so in the package
                config_file=str(self._path),
                client_configuration=taken,
                persist_config=os.access(self._path, os.W_OK),
                temp_file_path=directory,
            )
        except ConfigException as error:
            raise self._wrong(_reason(str(error))) from None
        except Exception as error:
            # of the package, which checks little; its text may hold a piece of the file
            raise self._wrong(f"{type(error).__name__} while it was read") from None

    @contextmanager
    def _importing(self) -> Iterator[None]:
        needs = f"kubeconfig {self._path} needs the package kubernetes, which cannot be imported"
        try:
            with _IMPORT:
                yield
        except ImportError as error:
            raise ConfigError(self.key, f"{needs}: {error}.") from error
        except Exception as error:
            # a warning that was made an error, as some are at the first import alone
            raise CallFailed(Failure.NO_CREDENTIALS, f"{needs}: {error}") from error

    def _access(self, taken: _Taken) -> tuple[Access, bytes]:
        if not taken.host and not self._server:
            raise self._wrong("its cluster has no server")
        url = self._server or server_url(self.key, taken.host or "")
        proxy = self._proxy(taken.proxy) if taken.proxy else None
        tls, certificates = self._tls(taken) if url.startswith("https://") else (None, b"")
        authorization = _checked(self, taken.authorization())
        return Access(url, tls, authorization, taken.tls_server_name, proxy), certificates

    def _proxy(self, url: str) -> Secret:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise self._wrong("its proxy-url is not http://HOST:PORT or https://HOST:PORT")
        return Secret(url)

    def _tls(self, taken: _Taken) -> tuple[ssl.SSLContext, bytes]:
        called = f"the certificate-authority of kubeconfig {self._path}"
        pem = None if taken.ssl_ca_cert is None else Path(taken.ssl_ca_cert).read_text("latin-1")
        context = trusting(self.key, called, pem)
        authorities = (pem or "").encode("latin-1")
        if not taken.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if taken.cert_file is None:
            return context, authorities
        try:
            context.load_cert_chain(taken.cert_file, taken.key_file, password=_no_password)
            return context, authorities + Path(taken.cert_file).read_bytes()
        except (OSError, ValueError) as error:
            raise self._wrong(
                "its client-certificate and client-key are not a certificate in PEM and its"
                " private key without a password"
            ) from error

    def _wrong(self, reason: str) -> ConfigError:
        return ConfigError(self.key, f"kubeconfig {self._path} cannot be used: {reason}.")

    def _plugin_failure(self, errors: list[str]) -> Exception:
        reason = f"its credential plugin failed: {' '.join(errors[-1].split())}"
        if "[Errno" in reason:
            return self._wrong(reason)
        return CallFailed(Failure.NO_CREDENTIALS, f"kubeconfig {self._path}: {reason}")


def _reason(said: str) -> str:
    if found := _LACKING_KEY.search(said):
        return f"it has no {found[1]}, or it is empty"
    if found := _LACKING_NAME.search(said):
        return f"it has no {found[1]!r} in {found[2]}"
    if found := _MISSING_FILE.fullmatch(said):
        return f"it names {found[1]}, which does not exist"
    return "it is no complete kubeconfig"


def _checked(source: Kubeconfig, header: Secret | None) -> Secret | None:
    text = header.reveal() if header else ""
    if not text.isascii() or not text.isprintable():
        raise ConfigError(source.key, f"{source.called} hold a token that no header can carry.")
    return header


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What this thread logs at the root logger, where the package puts why a plugin failed."""
    said: list[str] = []
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        if record.thread != thread or record.levelno < logging.ERROR:
            return True
        said.append(record.getMessage())
        return False

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield said
    finally:
        root.removeFilter(keep)
