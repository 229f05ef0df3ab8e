"""Members that answer by script, for tests of what the client does with answers and failures."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.schema import AuthenticateResponse
from flannel_sdk_etcd.transport import CallFailed, Failure, Method
from google.protobuf.message import Message

HANG = math.inf
Step = Message | Failure | float
"""What a call does: answer, fail, or take so many seconds and then not have been answered."""


@dataclass
class Call:
    """One call that a member got."""

    method: Method
    token: str | None
    timeout: float


@dataclass
class Member:
    """A connection whose calls and connects play scripts; the last step of each goes on."""

    endpoint: Endpoint
    connects: deque[Failure | float | None] = field(default_factory=lambda: deque([None]))
    steps: deque[Step] = field(default_factory=deque)
    authenticates: deque[Step] = field(default_factory=deque)
    calls: list[Call] = field(default_factory=list)
    connected: int = 0
    is_closed: bool = False
    refuses: str = ""
    """A token that is not valid any more."""

    async def connect(self, timeout: float) -> None:
        step = self.connects.popleft() if len(self.connects) > 1 else self.connects[0]
        self.connected += 1
        await self._play(step if step is not None else 0.0, timeout, Failure.NOT_CONNECTED)

    async def call(
        self, method: Method, request: Message, *, token: str | None, timeout: float
    ) -> Message:
        self.calls.append(Call(method, token, timeout))
        if token and token == self.refuses:
            await self._play(Failure.TOKEN_REFUSED, timeout, Failure.UNANSWERED)
        steps = self.authenticates if method is Method.AUTHENTICATE else self.steps
        step = steps.popleft() if len(steps) > 1 else steps[0]
        answer = await self._play(step, timeout, Failure.UNANSWERED)
        assert answer is not None
        return answer

    def stream(
        self, method: Method, requests: AsyncIterator[Message], *, token: str | None
    ) -> AsyncGenerator[Message, None]:
        raise NotImplementedError

    async def aclose(self) -> None:
        self.is_closed = True

    def asked(self, method: Method) -> int:
        """How often."""
        return sum(call.method is method for call in self.calls)

    async def _play(self, step: Step, timeout: float, late: Failure) -> Message | None:
        if isinstance(step, Failure):
            await asyncio.sleep(0)
            raise CallFailed(step, DETAILS.get(step, f"scripted: {step.value}"))
        if isinstance(step, Message):
            await asyncio.sleep(0)
            return step
        await asyncio.sleep(min(step, timeout))
        if step >= timeout:
            raise CallFailed(late, "no answer came in time")
        return None


DETAILS = {Failure.REFUSED: "etcdserver: too many requests"}


class Script:
    """Transport over such members."""

    def __init__(self, *members: Member) -> None:
        self.members = {member.endpoint: member for member in members}

    def connection(self, endpoint: Endpoint) -> Member:
        return self.members[endpoint]


def member(
    number: int, *steps: Step, connects: list[Failure | float | None] | None = None
) -> Member:
    """The member ``http://m<number>:2379``."""
    made = Member(Endpoint(f"m{number}", 2379, secure=False), steps=deque(steps))
    if connects:
        made.connects = deque(connects)
    return made


def token(text: str) -> AuthenticateResponse:
    """The answer to Authenticate."""
    return AuthenticateResponse(token=text)
