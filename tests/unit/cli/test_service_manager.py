"""What systemd is told of the daemon, over a socket like its own."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from flannel_sdk.cli import main
from flannel_sdk.cli.service_manager import ServiceManager
from flannel_sdk.interfaces import Network
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, Prefix
from tests.unit.cli.standin import MEMORY, StandInAgent


class Joined:
    """A network of which only the lease is asked."""

    mtu = 1450
    lease = Lease(
        ByFamily(Prefix.parse("10.5.7.0/24")),
        LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.1")), "vxlan"),
    )


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_it_is_told_when_the_network_is_there_and_that_we_stop(
    agent: type[StandInAgent], manager: socket.socket
) -> None:
    agent.network = cast("Network", Joined())
    told: list[str] = []

    def once_ready() -> None:
        def hear() -> None:
            told.append(manager.recv(1000).decode())
            os.kill(os.getpid(), signal.SIGTERM)

        asyncio.get_running_loop().run_in_executor(None, hear)

    agent.body = staticmethod(once_ready)
    assert main(MEMORY) == 0
    told.append(manager.recv(1000).decode())
    assert told == [
        "READY=1\nSTATUS=this node has 10.5.7.0/24",
        "STOPPING=1\nSTATUS=stopping; the data plane stays",
    ]


async def signs_of_life(environ: dict[str, str], listener: socket.socket) -> AsyncGenerator[str]:
    keeping = asyncio.create_task(ServiceManager(environ).keep_alive())
    loop = asyncio.get_running_loop()
    try:
        while True:
            yield (await loop.run_in_executor(None, listener.recv, 1000)).decode()
    finally:
        keeping.cancel()


async def test_a_watchdog_is_fed_while_the_loop_turns(manager: socket.socket) -> None:
    environ = {**os.environ, "WATCHDOG_USEC": "30000", "WATCHDOG_PID": str(os.getpid())}
    signs = signs_of_life(environ, manager)
    assert [await anext(signs) for _ in range(3)] == ["WATCHDOG=1"] * 3
    await signs.aclose()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
async def test_who_asks_for_no_watchdog_of_this_process_gets_none(
    manager: socket.socket, asked: dict[str, str]
) -> None:
    await ServiceManager({**os.environ, **asked}).keep_alive()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_an_abstract_address_is_understood() -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        name = f"flannel-sdk-test-{os.getpid()}"
        listener.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert listener.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_or_was_never_there_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ServiceManager({}).tell("READY=1")
    assert not caplog.records
    caplog.set_level(logging.WARNING)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert "the service manager is not told READY=1: No such file" in caplog.text
