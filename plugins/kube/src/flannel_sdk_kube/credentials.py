"""What a request needs to reach the API server as somebody, and who provides it."""

import ssl
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import Secret

# Where distributions keep the CAs of the system; no variable of the environment moves them.
_SYSTEM_ROOTS: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class Access(NamedTuple):
    """Where to send a request, and with what."""

    url: str
    """Of the server, without a slash at the end."""
    tls: ssl.SSLContext | None
    """None for plain HTTP."""
    authorization: Secret | None = None
    """The whole header."""
    server_name: str | None = None
    """To check the certificate for, where it is not the URL's host."""
    proxy: Secret | None = None
    """Its URL, which may have a password."""


class Credentials(Protocol):
    """The source of ``Access``: ConfigError where it is wrong, CallFailed where it may heal."""

    key: str
    """The option that they come from."""
    place: str
    """The server's URL, or the file that has it."""
    server: str
    """What people call the server: its URL as soon as that is known."""
    called: str
    """What people call them: ``the service account token of /var/run/..``."""
    trusts: str
    """Where the CA comes from that the server is to be of, as people call it."""

    async def current(self) -> Access:
        """What to use now; reads files and runs plugins where that is due."""
        ...

    async def renewed(self, refused: Access) -> Access | None:
        """What to use instead of ``refused``, or for a server that it does not trust any more.

        None if there is nothing else.
        """
        ...


def trusting(key: str, called: str, pem: str | None) -> ssl.SSLContext:
    """A TLS context that trusts the CAs in ``pem``, None for the system's.

    ConfigError for the option ``key`` if there is no CA in what people call ``called``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["http/1.1"])
    try:
        if pem is None:
            context.load_verify_locations(cafile=_system_roots())
        else:
            # all but comments is ASCII
            context.load_verify_locations(cadata=pem.encode("ascii", "ignore").decode())
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(key, f"{called} holds no CA certificate in PEM.") from error
    return context


def _system_roots() -> str:
    return next((path for path in _SYSTEM_ROOTS if Path(path).exists()), _SYSTEM_ROOTS[0])
