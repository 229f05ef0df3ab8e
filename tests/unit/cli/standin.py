"""What the daemon runs in tests: an agent that remembers what it is made with."""

import asyncio
import os
import signal
from collections.abc import Callable

from flannel_sdk.agent import AgentOptions
from flannel_sdk.cli import main
from flannel_sdk.interfaces import Network, SubnetManager

Body = Callable[[], object]
MEMORY = ["daemon", "--store", "memory", "--store-option", "name=test-of-the-daemon"]


class StandInAgent:
    """What the daemon runs; ``body`` says how it ends."""

    options: AgentOptions | None = None
    store: SubnetManager | None = None
    body: Body = staticmethod(lambda: None)
    cancelled = False
    network: Network | None = None
    """What is registered, if anything is."""

    def __init__(self, store: SubnetManager, options: AgentOptions) -> None:
        type(self).options, type(self).store = options, store

    async def wait_registered(self) -> Network:
        if self.network is None:
            await asyncio.Event().wait()
        assert self.network is not None
        return self.network

    async def wait_converged(self) -> None:
        await asyncio.Event().wait()

    async def run(self) -> None:
        self.body()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            type(self).cancelled = True
            raise


def interrupt(number: signal.Signals = signal.SIGTERM) -> Body:
    return lambda: os.kill(os.getpid(), number)


def fail_with(error: Exception) -> Body:
    def body() -> None:
        raise error

    return body


def options_of(agent: type[StandInAgent], *flags: str, command: list[str] = MEMORY) -> AgentOptions:
    """What an agent is made with when ``command`` runs with ``flags``."""
    agent.body = staticmethod(interrupt())
    assert main([*command, *flags]) == 0
    assert agent.options is not None
    return agent.options
