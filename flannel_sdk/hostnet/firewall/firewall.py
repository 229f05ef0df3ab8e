"""The firewall rules of one network on this host, kept as they have to be while ``run`` runs."""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from flannel_sdk.backoff import SAY_AGAIN_SECONDS, Backoff, Trouble
from flannel_sdk.errors import PermanentError
from flannel_sdk.hostnet.firewall.rules import Addresses, RuleSet
from flannel_sdk.hostnet.firewall.worker import Worker
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.model import ByFamily

if TYPE_CHECKING:
    from flannel_sdk.hostnet.firewall.engines import Engine
    from flannel_sdk.hostnet.firewall.nft_notices import NftNotices

_log = logging.getLogger(__name__)

_GATHER: Final = 0.05
"""Seconds to wait after a notice: more of them may be on their way."""
_LONGEST: Final = 0.8
"""Seconds that rules may be gone even where somebody takes them away again and again."""
_TRYING: Final = 5.0
"""Seconds after which rules that cannot be looked at or put back no longer count as there."""
_QUIET: Final = 10.0
"""Seconds without a repair after which the next one is made at once again."""


class Firewall:
    """Masquerade and forward rules: put there, looked after, and left there in the end.

    The kernel tells of each change of nf_tables, which costs nothing while there is none; where
    somebody took rules away they are back within milliseconds, and later only for one who does so
    again and again.
    """

    def __init__(
        self, options: FirewallOptions, *, netns: str | None = None, kind: FirewallKind = "auto"
    ) -> None:
        """``kind`` counts where ``options`` leave the choice; auto takes nftables if it can."""
        self._options = options
        self._kind: FirewallKind = kind if options.kind == "auto" else options.kind
        self._netns = netns
        self._rules: RuleSet | None = None
        self._former: tuple[Addresses, ...] = ()
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        """Set while what is wanted is in the kernel, or given up."""
        self._engine: Engine | None = None
        self._notices: NftNotices | None = None
        self._authors: set[str] = set()
        self._said: dict[str, tuple[float, int]] = {}
        """When each sentence about a repair was logged, and how often it was true since."""
        self._repairs: Counter[str] = Counter()
        self._problem: str | None = None
        self._given_up = False

    async def apply(self, addresses: ByFamily[Addresses], former: Sequence[Addresses] = ()) -> None:
        """Have the rules for ``addresses`` from now on; returns once they are in the kernel.

        ``former`` is what an earlier run was about; what an earlier call was about is known. Rules
        of either are removed. Waits for ever where ``run`` has failed: run both in one TaskGroup.
        """
        before = self._rules.addresses if self._rules is not None else ByFamily[Addresses]()
        older = (*self._former, *former, *(found for _, found in before.items_by_family()))
        now = [found for _, found in addresses.items_by_family()]
        self._former = tuple(found for found in dict.fromkeys(older) if found not in now)
        self._rules = RuleSet(
            addresses,
            masquerade=self._options.ip_masq,
            forward=self._options.iptables_forward_rules,
            fully_random=not self._options.ip_masq_fully_random_disable,
            former=self._former,
        )
        self._settled.clear()
        self._wake.set()
        await self._settled.wait()

    async def run(self) -> None:
        """Keep the rules until cancelled; they stay then.

        What can heal is waited out, and so is everything once the rules were there. PermanentError
        where masquerading is asked for and cannot be; forward rules alone are given up with a
        warning, as flanneld does.
        """
        worker = Worker(self._netns)
        try:
            rules = await self._next_turn()
            if rules.empty:
                await worker.call(_remove_own_table, rules)
                await self._do_nothing()
            self._wake.set()
            async with self._noticing(worker):
                await self._keep(worker)
        except PermanentError as error:
            if self._options.ip_masq:
                raise
            self._problem, self._given_up = str(error), True
            _log.warning("there will be no forward rules: %s", error)
            await self._do_nothing()
        finally:
            await worker.aclose(self._close)

    def _open(self, rules: RuleSet) -> "Engine":
        """In the worker's thread, so that nothing is open that ``_close`` does not know."""
        if self._engine is None:
            self._engine = _open_engine(self._kind, rules, self._options.iptables_resync)
        return self._engine

    def _listen(self) -> "NftNotices | None":
        with suppress(OSError):
            self._notices = _open_notices()
        return self._notices

    def _close(self) -> None:
        for opened in (self._engine, self._notices):
            if opened is not None:
                opened.close()
        self._engine = None
        self._notices = None

    async def _do_nothing(self) -> None:
        while True:
            self._settled.set()
            self._wake.clear()
            await self._wake.wait()

    @asynccontextmanager
    async def _noticing(self, worker: Worker) -> AsyncIterator[None]:
        """Wake up for each change of nf_tables, where there is such a thing."""
        notices = await worker.call(self._listen)
        if notices is None:
            yield
            return
        loop = asyncio.get_running_loop()

        def take() -> None:
            self._authors.update(notices.read())
            self._wake.set()

        loop.add_reader(notices.socket, take)
        try:
            yield
        finally:
            loop.remove_reader(notices.socket)

    async def _keep(self, worker: Worker) -> None:
        trouble = Trouble(_log, "setting the masquerade and forward rules")
        patience, repaired = Backoff(0.05, _LONGEST), 0.0
        failing = math.inf
        settled: RuleSet | None = None
        while True:
            rules = await self._next_turn()
            try:
                engine = await worker.call(self._open, rules)
                authors, self._authors = self._authors, set()
                found = await worker.call(engine.settle, rules)
            except Exception as error:  # also a defect of ours, which must not end the agent
                if isinstance(error, PermanentError) and settled is None:
                    raise
                # What has worked once may work again: programs are away while they are upgraded.
                self._problem = str(error)
                failing = min(failing, time.monotonic())
                if time.monotonic() - failing >= _TRYING:
                    self._settled.clear()
                await trouble.wait_out(error)
                self._wake.set()
                continue
            trouble.over()
            failing = math.inf
            if engine.problem not in (None, self._problem):
                _log.warning("%s", engine.problem)
            self._problem = engine.problem
            if settled != rules:
                settled = rules
                _say_set(engine, found)
            elif found:
                self._repairs.update(found)
                self._say_repaired(found, authors)
                if time.monotonic() - repaired > _QUIET:
                    patience.reset()
                repaired = time.monotonic()
                await asyncio.sleep(patience.next_delay())
            if rules is self._rules:
                self._settled.set()

    async def _next_turn(self) -> RuleSet:
        """What is wanted, when it is time to look whether it is there."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._engine.poll if self._engine else None):
                    await self._wake.wait()
                if self._settled.is_set():
                    await asyncio.sleep(_GATHER)
            self._wake.clear()
            if self._rules is not None:
                return self._rules

    def _say_repaired(self, found: Sequence[str], authors: Iterable[str]) -> None:
        """Once a minute for the same; the others are counted."""
        names = ", ".join(sorted(filter(None, authors))) or "somebody"
        text = f"({', '.join(dict.fromkeys(found))}): changed by {names}"
        said, more = self._said.get(text, (-math.inf, 0))
        now = time.monotonic()
        if now - said < SAY_AGAIN_SECONDS:
            self._said[text] = said, more + 1
            return
        self._said[text] = now, 0
        again = f", and {more} times before" if more else ""
        _log.warning("firewall rules were put back %s%s", text, again)

    def status(self) -> Mapping[str, object]:
        """JSON-ready: what keeps the rules, whether they are there, repairs by cause."""
        engine, rules = self._engine, self._rules
        return {
            "kind": engine.kind if engine else None,
            "place": engine.place if engine else None,
            "masquerade": self._options.ip_masq,
            "forward": self._options.iptables_forward_rules,
            "settled": rules is not None and self._settled.is_set(),
            "given_up": self._given_up,
            "repairs": dict(self._repairs),
            "problem": self._problem,
        }


# What takes a while to import is imported in the worker's thread, while others go on.


def _open_notices() -> "NftNotices":
    from flannel_sdk.hostnet.firewall.nft_notices import NftNotices

    return NftNotices()


def _open_engine(kind: FirewallKind, rules: RuleSet, resync: float) -> "Engine":
    from flannel_sdk.hostnet.firewall.choice import open_engine

    return open_engine(kind, rules, resync)


def _remove_own_table(rules: RuleSet) -> None:
    from flannel_sdk.hostnet.firewall.nft_table import remove_own_table

    remove_own_table(rules)


def _say_set(engine: "Engine", found: Sequence[str]) -> None:
    what = "are set" if found else "were there already"
    _log.info("the masquerade and forward rules %s: %s", what, engine.place)
