"""Sockets of the client notice a peer that is gone, and are closed with it."""

import asyncio
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from flannel_sdk_kube import KubeOptions, KubeSubnetManager, sockets
from flannel_sdk_kube.sockets import probing_socket

from plugins.etcd.tests.certificates import Authority, ServerFiles


def test_a_dead_peer_is_noticed_within_a_minute() -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 1))
    with probing_socket(address) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle, between, probes, unacknowledged = (
            made.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        )
    assert idle + between * probes <= 60
    assert unacknowledged <= 30_000


def silent_server(listener: socket.socket, files: ServerFiles, asked: threading.Event) -> None:
    """Speak TLS with one client, read what it asks, and answer nothing until it hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    connection, _ = listener.accept()
    with suppress(OSError), context.wrap_socket(connection, server_side=True) as spoken:
        spoken.recv(65536)
        asked.set()
        while spoken.recv(65536):
            pass


async def test_a_closed_store_has_no_connection_left(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that waits for the TLS goodbye of a server that has said nothing at all."""
    made: list[socket.socket] = []

    def remembered(address: sockets.AddrInfo) -> socket.socket:
        made.append(probing_socket(address))
        return made[-1]

    monkeypatch.setattr(sockets, "probing_socket", remembered)
    (tmp_path / "token").write_text("token")
    (tmp_path / "ca.crt").write_bytes(authority.ca.read_bytes())
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(
            target=silent_server, args=(listener, authority.server(), asked), name="silent server"
        )
        serving.start()
        options = KubeOptions(
            node_name="n1",
            service_host="127.0.0.1",
            service_port=listener.getsockname()[1],
            service_account=tmp_path,
        )
        async with KubeSubnetManager(options) as store:
            watching = asyncio.create_task(anext(store.watch_leases()))
            assert await asyncio.to_thread(asked.wait, 10)
            watching.cancel()
            await asyncio.wait([watching])
        assert [one.fileno() for one in made] == [-1]
        await asyncio.to_thread(serving.join)
