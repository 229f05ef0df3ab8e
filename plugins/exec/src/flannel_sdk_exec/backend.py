"""exec: a program in any language makes the data plane; supervised, and told what backends are."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from flannel_sdk.errors import MalformedEntry, RetryableError
from flannel_sdk.interfaces import BackendContext, LeaseAcquirer, PeerFeed
from flannel_sdk.model import Lease, NetworkConfig, PeerUpdate, Subnets
from flannel_sdk.toolkit import Refusals, enabled_public_ips
from flannel_sdk_exec.messages import (
    Message,
    lease_object,
    read_publish,
    read_refused,
    read_registered,
    register_message,
    subnets_object,
)
from flannel_sdk_exec.options import Options
from flannel_sdk_exec.program import Program, running_program

_log = logging.getLogger(__name__)


class _Registrar(NamedTuple):
    """What a program is registered with, as often as one is started."""

    context: BackendContext
    config: NetworkConfig
    options: Options
    leases: LeaseAcquirer

    async def register(self, program: Program, held: Lease | None) -> tuple[Lease, int]:
        """The lease that is published as the program wants, and the MTU that it gives."""
        public_ips = enabled_public_ips(self.context, self.config)
        question = register_message(self.context, self.config, self.options.others, held)
        answer = await program.ask(question, "publish")
        with program.blamed():
            attrs = read_publish(answer, public_ips)
        if held is not None and held.attrs == attrs:
            lease = held
        else:
            lease = await self.leases.acquire_lease(attrs)
        answer = await program.ask({"type": "lease", "lease": lease_object(lease)}, "registered")
        with program.blamed():
            return lease, read_registered(answer, self.context, lease)


class ExecNetwork:
    """A registered network; the program runs while ``run`` does."""

    def __init__(self, registrar: _Registrar, lease: Lease, mtu: int) -> None:
        self.lease = lease
        self.mtu = mtu
        self._registrar = registrar
        self._program: Program | None = None
        self._known: set[Subnets] = set()
        """The peers that the program was told of."""
        self._refusals = Refusals(_log)

    async def run(self, peers: PeerFeed) -> None:
        """As ``Network.run``; each starts the program and tells it all peers."""
        options, netns = self._registrar.options, self._registrar.context.netns
        async with running_program(options, netns) as program:
            self._program = program
            try:
                await self._register_again(program)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(program.keep_asking())
                    await self._follow(program, peers)
            finally:
                self._program = None

    def status(self) -> Mapping[str, object]:
        """As ``SupportsStatus.status``, with what the program told of itself."""
        return {
            "peers": {"known": len(self._known), "refused": self._refusals.by_reason()},
            "program": {
                "command": self._registrar.options.name,
                "running": self._program is not None,
                "facts": self._program.facts if self._program is not None else {},
            },
        }

    async def _register_again(self, program: Program) -> None:
        lease, mtu = await self._registrar.register(program, self.lease)
        if lease.subnets != self.lease.subnets:
            raise RetryableError("this node has another subnet than it was registered with")
        if mtu != self.mtu:
            _log.warning(
                "the backend's program says an MTU of %d now, pods have %d: restart the agent",
                mtu,
                self.mtu,
            )
        self.lease = lease

    async def _follow(self, program: Program, peers: PeerFeed) -> None:
        self._known.clear()
        self._refusals.clear()
        number = 0
        async with aclosing(peers.updates()) as updates:
            async for update in updates:
                number += 1
                answer = await program.ask(self._told(update, number), "ack")
                with program.blamed():
                    for peer, reason in read_refused(answer):
                        self._refusals.add(peer, reason)
        raise RetryableError("the feed of peers ended")

    def _told(self, update: PeerUpdate, number: int) -> Message:
        self._refusals.forget(update.removed)
        changed = dict(self._served(update.changed))
        gone = {*update.removed, *(lease.subnets for lease in update.changed)} - changed.keys()
        removed = [] if update.full else [peer for peer in gone if peer in self._known]
        self._known.difference_update(removed)
        self._known.update(changed)
        return {
            "type": "update",
            "id": number,
            "full": update.full,
            "changed": list(changed.values()),
            "removed": [subnets_object(peer) for peer in removed],
        }

    def _served(self, leases: Sequence[Lease]) -> Iterator[tuple[Subnets, Mapping[str, object]]]:
        own = self.lease
        for lease in leases:
            self._refusals.forget([lease.subnets])
            try:
                if lease.attrs.backend_type != own.attrs.backend_type:
                    raise MalformedEntry(
                        f"its backend is {lease.attrs.backend_type[:40]!r},"
                        f" not {own.attrs.backend_type!r}"
                    )
                if all(None in pair for pair in zip(own.subnets, lease.subnets, strict=True)):
                    raise MalformedEntry("its lease has no address family of this node")
                yield lease.subnets, lease_object(lease)
            except MalformedEntry as error:
                self._refusals.add(lease.subnets, str(error))


class ExecBackend:
    """exec on one node."""

    def __init__(self, context: BackendContext) -> None:
        self._context = context

    async def register_network(self, config: NetworkConfig, leases: LeaseAcquirer) -> ExecNetwork:
        """As ``Backend.register_network``; the program runs meanwhile, and is ended after it."""
        options = Options.read(config.backend_options)
        registrar = _Registrar(self._context, config, options, leases)
        async with running_program(options, self._context.netns) as program:
            lease, mtu = await registrar.register(program, None)
        return ExecNetwork(registrar, lease, mtu)
