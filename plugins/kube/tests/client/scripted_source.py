"""A NodeSource that does what a list says, in the order of the calls; for virtual time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import NamedTuple, TypeAlias

from flannel_sdk_kube.failures import CallFailed, Failure
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.reflector import Reflector
from flannel_sdk_kube.slimming import Event, Page

from flannel_sdk.errors import ConfigError, FlannelError, StoreUnavailable

STEM = "flannel.alpha.coreos.com/"


class Pause(NamedTuple):
    """Seconds in which nothing comes."""

    seconds: float


Step: TypeAlias = list[Event] | CallFailed | Pause
Answer: TypeAlias = Page | CallFailed | ConfigError | Sequence[Step]
"""A page, a failure, or the steps of a watch; at the end of them it ends cleanly."""

HANG = Pause(1e9)


def entry(
    name: str,
    revision: int,
    *,
    uid: str | None = None,
    cidr: str = "10.0.1.0/24",
    public_ip: str = "192.0.2.1",
) -> NodeEntry:
    annotations = {f"{STEM}public-ip": public_ip}
    return NodeEntry(name, uid or f"uid-of-{name}", (cidr,), annotations, str(revision))


def put(
    name: str,
    revision: int,
    *,
    kind: str = "MODIFIED",
    public_ip: str = "192.0.2.1",
    uid: str | None = None,
) -> Event:
    return Event(kind, entry(name, revision, public_ip=public_ip, uid=uid), str(revision))


def gone(name: str, revision: int) -> Event:
    return Event("DELETED", entry(name, revision), str(revision))


def bookmark(revision: int, *, end: bool = False) -> Event:
    return Event("BOOKMARK", None, str(revision), ends_initial=end)


def error(code: int, reason: str, message: str = "no") -> Event:
    return Event("ERROR", None, "", status={"code": code, "reason": reason, "message": message})


EXPIRED = error(410, "Expired", "too old resource version")
REFUSED = CallFailed(Failure.REFUSED, "resourceVersionMatch is forbidden for watch")
DOWN = CallFailed(Failure.UNREACHABLE, "the connection was refused")


class ScriptedSource:
    """Plays its answers and keeps what it was asked, and when."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str]] = []
        self.open_watches = 0
        self.reached: str | CallFailed = ""
        """What it says that the API server has reached."""
        self.looked = 0

    async def newest(self) -> str:
        self.looked += 1
        await asyncio.sleep(0)
        if isinstance(self.reached, CallFailed):
            raise self.reached
        return self.reached

    async def page(self, selector: str | None, rest: str) -> Page:
        answer = self._next(f"page {rest}".strip())
        await asyncio.sleep(0)
        if isinstance(answer, CallFailed | ConfigError):
            raise answer
        assert isinstance(answer, Page), answer
        return answer

    @asynccontextmanager
    async def watch(
        self, selector: str | None, revision: str | None
    ) -> AsyncIterator[AsyncGenerator[list[Event], None]]:
        answer = self._next("initial" if revision is None else f"watch {revision}")
        await asyncio.sleep(0)
        if isinstance(answer, CallFailed | ConfigError):
            raise answer
        assert not isinstance(answer, Page), answer
        self.open_watches += 1
        try:
            yield self._play(answer)
        finally:
            self.open_watches -= 1

    async def _play(self, steps: Sequence[Step]) -> AsyncGenerator[list[Event], None]:
        for step in steps:
            await asyncio.sleep(step.seconds if isinstance(step, Pause) else 0)
            if isinstance(step, CallFailed):
                raise step
            if not isinstance(step, Pause):
                yield step

    def _next(self, question: str) -> Answer:
        self.asked.append((asyncio.get_running_loop().time(), question))
        return self.answers.pop(0) if self.answers else [HANG]

    @property
    def questions(self) -> list[str]:
        return [question for _, question in self.asked]


def to_error(failed: CallFailed) -> FlannelError:
    if failed.failure is Failure.FORBIDDEN:
        return ConfigError("kubeconfig", failed.detail)
    return StoreUnavailable(failed.detail)


def told(item: NodeSnapshot | NodeDelta) -> tuple[str, ...]:
    """An item in words: ``=a`` in a snapshot, ``+a`` changed, ``-a`` removed."""
    if isinstance(item, NodeSnapshot):
        return tuple(sorted(f"={node.name}" for node in item.nodes))
    return (
        *(f"-{node.name}" for node in item.removed),
        *(f"+{node.name}" for node in item.changed),
    )


async def items_within(
    source: ScriptedSource, seconds: float = 3600.0
) -> list[NodeSnapshot | NodeDelta]:
    """What a reflector tells until nothing came for a long virtual time."""
    found: list[NodeSnapshot | NodeDelta] = []
    async with AsyncExitStack() as stack:
        items = await stack.enter_async_context(aclosing(Reflector(source, None, to_error).items()))
        try:
            async with asyncio.timeout(seconds):
                async for item in items:
                    found.append(item)
        except TimeoutError:
            pass
    assert source.open_watches == 0
    return found
