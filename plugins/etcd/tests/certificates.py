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
    """What a client trusts and shows: ca_cert, cert_cert and cert_key of EtcdOptions."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None


class Authority:
    """A certificate authority that keeps its files in one folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.ca = folder / f"{name}.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))

    def server(
        self, *names: str, label: str = "server", seconds: float | None = None
    ) -> ServerFiles:
        """A certificate for these names and addresses (loopback's, if none is given)."""
        cert, key = self._issue(label, names or NAMES, None, seconds)
        return ServerFiles(cert, key)

    def client(
        self, common_name: str | None = None, *, label: str = "client", seconds: float | None = None
    ) -> ClientFiles:
        """A client's certificate; etcd takes its common name, if any, as the user's name.

        It is valid for ``seconds``, which may be negative. The same ``label`` again overwrites the
        files: that is how a rotation looks.
        """
        cert, key = self._issue(label, ("client.test",), common_name, seconds)
        return ClientFiles(self.ca, cert, key)

    @property
    def trust(self) -> ClientFiles:
        """The client's side without a certificate of its own."""
        return ClientFiles(self.ca)

    def _issue(
        self,
        label: str,
        names: tuple[str, ...],
        common_name: str | None,
        seconds: float | None,
    ) -> tuple[Path, Path]:
        now = datetime.datetime.now(datetime.UTC)
        ends = None if seconds is None else now + datetime.timedelta(seconds=seconds)
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
