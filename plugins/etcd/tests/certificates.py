"""Certificates for tests: an authority, what servers and clients show, and wrong ones."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme

NAMES = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerFiles:
    """What a server shows."""

    cert: Path
    key: Path


@dataclass(frozen=True)
class ClientFiles:
    """What a client trusts and shows; the fields of EtcdOptions' ca_cert, cert_cert, cert_key."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def options(self) -> dict[str, Path]:
        """As keyword arguments of ``EtcdOptions``."""
        known = {"ca_cert": self.ca, "cert_cert": self.cert, "cert_key": self.key}
        return {name: path for name, path in known.items() if path is not None}


class Authority:
    """A certificate authority that keeps its files in one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.ca = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def server(self, *names: str, label: str = "server") -> ServerFiles:
        """A certificate for these names and addresses (loopback's, if none is given)."""
        cert, key = self._issue(label, names or NAMES, None, None)
        return ServerFiles(cert, key)

    def client(
        self, common_name: str | None = None, *, label: str = "client", expired: bool = False
    ) -> ClientFiles:
        """A client's certificate; etcd takes its common name, if any, as the user's name.

        The same ``label`` again overwrites the files: that is how a rotation looks.
        """
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        cert, key = self._issue(label, ("client.test",), common_name, past if expired else None)
        return ClientFiles(self.ca, cert, key)

    def expired_server(self, *names: str, label: str = "expired") -> ServerFiles:
        """A server's certificate that ended yesterday."""
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
        cert, key = self._issue(label, names or NAMES, None, past)
        return ServerFiles(cert, key)

    @property
    def trust(self) -> ClientFiles:
        """The client's side without a certificate of its own."""
        return ClientFiles(self.ca)

    def _issue(
        self,
        label: str,
        names: tuple[str, ...],
        common_name: str | None,
        ends: datetime.datetime | None,
    ) -> tuple[Path, Path]:
        begins = ends and ends - datetime.timedelta(days=30)
        issued = self._authority.issue_cert(
            *names, common_name=common_name, not_before=begins, not_after=ends
        )
        cert, key = self._folder / f"{label}.pem", self._folder / f"{label}.key"
        for path, content in (
            (cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems)),
            (key, issued.private_key_pem.bytes()),
        ):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)
        return cert, key
