"""The status socket: answers, refusals, and what it leaves behind (nothing)."""

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from flannel_sdk.agent.status_socket import Answer, serve_status
from flannel_sdk.errors import KernelRefused, PermanentError


async def facts() -> object:
    return {"state": "running"}


async def broken() -> object:
    raise KernelRefused("the kernel said no", 1)


async def defective() -> object:
    raise ZeroDivisionError("a plugin's defect")


async def unprintable() -> object:
    return {"when": object()}


ANSWERS = {"status": facts, "plan": broken}


async def ask(path: Path, line: bytes) -> object:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    writer.write_eof()
    answer: object = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def test_answers_a_command_and_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    async with serve_status(path, ANSWERS):
        assert await ask(path, b'{"command": "status"}\n') == {"state": "running"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"nonsense\n", "not a line of JSON"),
        (b"[1]\n", "unknown command None"),
        (b'{"command": 7}\n', "unknown command 7"),
        (b'{"command": "reboot"}\n', "ask for plan, status"),
        (b'{"command": "plan"}\n', "the kernel said no"),
    ],
)
async def test_what_cannot_be_answered_is_one_sentence(
    tmp_path: Path, line: bytes, sentence: str
) -> None:
    path = tmp_path / "agent.sock"
    async with serve_status(path, ANSWERS):
        answer = await ask(path, line)
    assert isinstance(answer, dict)
    assert sentence in answer["error"]


@pytest.mark.parametrize(
    ("answer", "sentence"), [(defective, "ZeroDivisionError"), (unprintable, "TypeError")]
)
async def test_a_defect_of_a_plugin_is_answered_with_a_sentence(
    tmp_path: Path, answer: Answer, sentence: str
) -> None:
    path = tmp_path / "agent.sock"
    async with serve_status(path, {"status": answer}):
        reply = await ask(path, b'{"command": "status"}\n')
    assert isinstance(reply, dict)
    assert sentence in reply["error"]


async def test_a_file_that_is_no_socket_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("not ours")
    with pytest.raises(PermanentError, match="no socket"):
        async with serve_status(path, ANSWERS):
            pass
    assert path.read_text() == "not ours"


async def test_the_socket_of_another_agent_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as another:
        async with serve_status(path, ANSWERS):
            path.rename(tmp_path / "moved")
            another.bind(str(path))
        assert path.exists()


async def test_endless_request_and_silent_client_harm_nobody(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serve_status(path, ANSWERS):
        _, silent = await asyncio.open_unix_connection(path)
        reader, endless = await asyncio.open_unix_connection(path)
        endless.write(b"x" * 1_000_000)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert await ask(path, b'{"command": "status"}\n') == {"state": "running"}
        for writer in (silent, endless):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def test_a_second_agent_is_refused_and_a_dead_ones_socket_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with serve_status(path, ANSWERS):
        with pytest.raises(PermanentError, match="another agent"):
            async with serve_status(path, ANSWERS):
                pass
        assert await ask(path, b'{"command": "status"}\n') == {"state": "running"}


async def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot serve the status socket"):
        async with serve_status(tmp_path / "file" / "agent.sock", ANSWERS):
            pass
