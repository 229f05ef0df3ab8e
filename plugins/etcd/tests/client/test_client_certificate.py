"""Servers that do not take our client's certificate, by TLS 1.2 and by TLS 1.3."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from flannel_sdk_etcd.client import EtcdClient
from flannel_sdk_etcd.options import EtcdOptions

from flannel_sdk.errors import ConfigError
from plugins.etcd.tests.certificates import Authority, ClientFiles

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@contextmanager
def refusing(authority: Authority, version: ssl.TLSVersion) -> Iterator[int]:
    """The port of a server that wants a certificate of ``authority`` and serves nobody."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.ca))
    shown = authority.server(label="refusing")
    context.load_cert_chain(shown.cert, shown.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    taken, _ = listener.accept()
                    with taken:
                        context.wrap_socket(taken, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shown", ["none", "of another authority", "expired"])
async def test_a_refused_client_certificate_is_final(
    authority: Authority, wrong_authority: Authority, version: ssl.TLSVersion, shown: str
) -> None:
    files = authority.trust
    if shown == "expired":
        files = authority.client(label="ended", seconds=-3600)
    elif shown == "of another authority":
        stranger = wrong_authority.client(label="stranger")
        files = ClientFiles(authority.ca, stranger.cert, stranger.key)
    with refusing(authority, version) as port:
        url = f"https://127.0.0.1:{port}"
        client = EtcdClient(EtcdOptions((url,), "", files.ca, files.key, files.cert))
        try:
            with pytest.raises(ConfigError, match=r"client certificate|TLS handshake failed"):
                await client.get(b"key")
        finally:
            await client.aclose()
