"""A running program that speaks the protocol: questions, answers, silence, and its end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

from flannel_sdk.errors import ConfigError, FlannelError, PermanentError, RetryableError
from flannel_sdk.task_groups import single_error
from flannel_sdk.toolkit import ChildProcess, child_process
from flannel_sdk_exec.messages import Garbage, Message, decode, encode, read_error, shown
from flannel_sdk_exec.options import Options

_log = logging.getLogger(__name__)

LONGEST_LINE = 2**20
"""Bytes of a line that a program may write; what it gets may be longer."""

_CLOSING_SECONDS = 0.3
"""For a program that closed its output to end, so that its exit code can be told."""

_MOST_GARBAGE = 10
"""Further lines that are no messages are not logged."""


class _Question(NamedTuple):
    answer: str
    """The type of the message that answers."""
    id: int | None
    reply: "asyncio.Future[Message]"


class Program:
    """One life of a program."""

    def __init__(self, child: ChildProcess, options: Options) -> None:
        self.facts: Mapping[str, object] = {}
        """What its last status said."""
        self._child = child
        self._name = options.name
        self._seconds = options.timeout
        self._turn = asyncio.Lock()
        self._is_given_up = False
        self._question: _Question | None = None
        self._patience: asyncio.Timeout | None = None
        self._last_words = ""
        self._said_all = asyncio.Event()
        self._garbage = 0

    async def ask(self, message: Message, answer: str) -> Message:
        """Its ``answer`` to ``message``; RetryableError where it stays silent for too long."""
        async with self._turn:
            number = message.get("id")
            self._question = _Question(
                answer,
                number if isinstance(number, int) else None,
                asyncio.get_running_loop().create_future(),
            )
            try:
                async with asyncio.timeout(self._seconds) as self._patience:
                    await self._child.write(encode(message))
                    return await self._question.reply
            except TimeoutError as error:
                self._is_given_up = True
                with self.blamed():
                    raise RetryableError(
                        f"it said nothing for {self._seconds} s, and {answer} was due: it hangs, or"
                        " needs a greater Backend.Timeout"
                    ) from error
                raise
            finally:
                self._question = self._patience = None

    async def keep_asking(self) -> None:
        """Find out that it hangs also while there is nothing to say."""
        number = 0
        while True:
            await asyncio.sleep(self._seconds)
            number += 1
            await self.ask({"type": "ping", "id": number}, "pong")

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What is raised inside is the program's fault: its sentence begins with the name."""
        try:
            yield
        except FlannelError as error:
            raise _with_name(error, self._name) from error.__cause__

    async def listen(self) -> None:
        """Read what it says; raises when it ends or says what is wrong."""
        with self.blamed():
            while True:
                try:
                    line = await self._child.stdout.readuntil()
                except asyncio.IncompleteReadError:
                    raise await self._end() from None
                except asyncio.LimitOverrunError:
                    raise RetryableError(
                        f"it wrote a line of more than {LONGEST_LINE} bytes"
                    ) from None
                try:
                    self._heard(decode(line))
                except Garbage:
                    self._note_garbage(line)

    async def watch(self) -> None:
        """Raise when it ends, also where something that it started keeps its output open."""
        await self._child.wait()
        await asyncio.sleep(_CLOSING_SECONDS)  # ``listen`` has it to read what was written last
        with self.blamed():
            raise await self._end()

    def _heard(self, message: Message) -> None:
        if self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time() + self._seconds)
        question = self._question
        kind = message["type"]
        if question is not None and kind == question.answer:
            if question.id is not None and message.get("id") != question.id:
                raise RetryableError(f"its {kind} has not the id {question.id} that was asked for")
            if not question.reply.done():
                question.reply.set_result(message)
        elif kind == "status":
            facts = message.get("facts")
            self.facts = facts if isinstance(facts, dict) else {}
        elif kind == "error":
            raise read_error(message)
        elif not self._is_given_up:  # else it is an answer that came too late
            raise RetryableError(f"it wrote {shown(str(kind))[:40]!r}, and nothing like it was due")

    def _note_garbage(self, line: bytes) -> None:
        self._garbage += 1
        if self._garbage <= _MOST_GARBAGE:
            text = shown(line.decode("utf-8", "replace"))
            _log.warning("the backend's program printed what is no message: %s", text)

    async def _end(self) -> RetryableError:
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                code = await self._child.wait()
        except TimeoutError:
            return RetryableError("it closed its standard output")
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._said_all.wait()
        how = f"it ended with exit code {code}" if code >= 0 else f"signal {-code} ended it"
        return RetryableError(f"{how}: {self._last_words}" if self._last_words else how)

    async def log_stderr(self) -> None:
        """Each line that it prints to its standard error goes to the log."""
        while True:
            try:
                line = await self._child.stderr.readuntil()
            except asyncio.IncompleteReadError as error:
                line = error.partial
            except asyncio.LimitOverrunError as error:
                line = await self._child.stderr.read(error.consumed)
            if not line:
                self._said_all.set()
                return
            if text := shown(line.decode("utf-8", "replace")):
                self._last_words = text
                _log.info("%s: %s", self._name, text)


@asynccontextmanager
async def running_program(options: Options, netns: str | None) -> AsyncIterator[Program]:
    """The program runs while the block lasts; what goes wrong with it ends the block.

    It is ended as ``child_process`` says.
    """
    try:
        with single_error():
            async with (
                child_process(options.argv, netns=netns, line_limit=LONGEST_LINE) as child,
                asyncio.TaskGroup() as tasks,
            ):
                program = Program(child, options)
                listening = [
                    tasks.create_task(program.log_stderr()),
                    tasks.create_task(program.listen()),
                    tasks.create_task(program.watch()),
                ]
                yield program
                for task in listening:
                    task.cancel()
    except OSError as error:
        raise RetryableError(
            f"the backend's program {options.name} cannot be started: {error.strerror}"
        ) from error


def _with_name(error: FlannelError, name: str) -> FlannelError:
    """The same error, whose sentence begins with the program's name."""
    text = f"the backend's program {name}: {error}"
    if isinstance(error, ConfigError):
        return ConfigError(error.key, text)
    return PermanentError(text) if isinstance(error, PermanentError) else RetryableError(text)
