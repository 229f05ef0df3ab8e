"""When the rules are looked at, put back, given up: on an engine that only remembers."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flannel_sdk.backoff import Backoff
from flannel_sdk.errors import KernelRefused, PermanentError, PrivilegeError
from flannel_sdk.hostnet.firewall import Addresses, Firewall, RuleSet
from flannel_sdk.hostnet.firewall import firewall as module
from flannel_sdk.hostnet.firewall_options import FirewallKind, FirewallOptions
from flannel_sdk.model import ByFamily, Prefix
from flannel_sdk.testing.waiting import eventually

BOTH = FirewallOptions(ip_masq=True, iptables_forward_rules=True, iptables_resync=0.01)
FORWARD = FirewallOptions(iptables_forward_rules=True)
FIRST = ByFamily(Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.3.0/24")))
SECOND = ByFamily(Addresses(Prefix.parse("10.5.0.0/16"), Prefix.parse("10.5.4.0/24")))


class Remembering:
    """An engine that finds what it is told."""

    kind = "remembering"
    place = "nowhere"
    poll = 0.01
    problem: str | None = None

    def __init__(self) -> None:
        self.settled: list[RuleSet] = []
        self.found: list[list[str]] = []
        self.failures: list[Exception] = []
        self.kinds: list[FirewallKind] = []
        self.closed = False

    def settle(self, rules: RuleSet) -> list[str]:
        if self.failures:
            raise self.failures.pop(0)
        self.settled.append(rules)
        return self.found.pop(0) if self.found else []

    def last_former(self) -> tuple[Addresses, ...]:
        return self.settled[-1].former

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Remembering:
    made = Remembering()

    def open_engine(kind: FirewallKind, rules: RuleSet, resync: float) -> Remembering:
        made.kinds.append(kind)
        return made

    def listen() -> None:
        raise OSError

    monkeypatch.setattr(module, "_open_engine", open_engine)
    monkeypatch.setattr(module, "_open_notices", listen)
    return made


@asynccontextmanager
async def kept(firewall: Firewall) -> AsyncIterator["asyncio.Task[None]"]:
    running = asyncio.create_task(firewall.run())
    try:
        yield running
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_rules_count_as_applied_once_the_kernel_has_them(engine: Remembering) -> None:
    firewall = Firewall(BOTH)
    applying = asyncio.create_task(firewall.apply(FIRST))
    await asyncio.sleep(0)
    assert firewall.status()["settled"] is False
    async with kept(firewall):
        await asyncio.wait_for(applying, 20)
        assert firewall.status()["settled"] is True
        assert engine.settled[0] == RuleSet(FIRST, masquerade=True, forward=True)
    assert engine.closed


async def test_what_the_rules_were_about_is_known_to_the_engine(engine: Remembering) -> None:
    firewall = Firewall(BOTH)
    older = Addresses(Prefix.parse("10.9.0.0/16"), Prefix.parse("10.9.3.0/24"))
    assert FIRST.ipv4 is not None
    async with kept(firewall):
        await firewall.apply(FIRST, [older, FIRST.ipv4])
        assert engine.last_former() == (older,)
        await firewall.apply(SECOND)
        assert engine.last_former() == (older, FIRST.ipv4)
        await firewall.apply(FIRST)
        assert engine.last_former() == (older, SECOND.ipv4)


async def test_only_what_is_found_later_is_a_repair(
    engine: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine.found = [["table missing"], [], ["rule missing"]]
    firewall = Firewall(BOTH)
    async with kept(firewall):
        await firewall.apply(FIRST)
        await eventually(lambda: firewall.status()["repairs"], "a repair", 20.0)
        assert firewall.status()["repairs"] == {"rule missing": 1}
    assert "rules were put back (rule missing): changed by somebody" in caplog.text


async def test_rules_that_cannot_be_put_back_do_not_count_as_there(
    engine: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TRYING", 0.0)
    firewall = Firewall(BOTH)
    async with kept(firewall):
        await firewall.apply(FIRST)
        assert firewall.status()["settled"] is True
        engine.failures = [KernelRefused("no way", 16)] * 3
        await eventually(lambda: not firewall.status()["settled"], "unsettled", 20.0)
        assert firewall.status()["problem"] == "no way"
        await eventually(lambda: firewall.status()["settled"], "settled again", 20.0)
        assert firewall.status()["problem"] is None


async def test_who_takes_rules_away_again_and_again_has_to_wait(
    engine: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []

    def next_delay(self: object) -> float:
        delays.append(0.0)
        return 0.0

    monkeypatch.setattr(Backoff, "next_delay", next_delay)
    engine.found = [[], *([["rule missing"]] * 5)]
    firewall = Firewall(BOTH)
    async with kept(firewall):
        await firewall.apply(FIRST)
        await eventually(
            lambda: firewall.status()["repairs"] == {"rule missing": 5}, "repairs", 20.0
        )
    assert len(delays) == 5


async def test_what_can_heal_is_waited_out(
    engine: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failures = [KernelRefused("cannot change nf_tables: busy", 16), ValueError("a defect")]
    firewall = Firewall(BOTH)
    async with kept(firewall):
        await asyncio.wait_for(firewall.apply(FIRST), 20)
        assert firewall.status()["problem"] is None
    assert "setting the masquerade and forward rules: cannot change nf_tables: busy" in caplog.text


async def test_masquerading_that_cannot_be_ends_the_run(engine: Remembering) -> None:
    engine.failures = [PrivilegeError("no right")]
    firewall = Firewall(BOTH)
    applying = asyncio.create_task(firewall.apply(FIRST))
    async with kept(firewall) as running:
        with pytest.raises(PrivilegeError, match="no right"):
            await asyncio.wait_for(running, 20)
    applying.cancel()
    await asyncio.wait([applying])
    assert engine.closed


async def test_what_cannot_be_any_more_after_it_worked_is_waited_out(engine: Remembering) -> None:
    """iptables' programs may be away for a moment, while they are upgraded."""
    firewall = Firewall(BOTH)
    async with kept(firewall) as running:
        await asyncio.wait_for(firewall.apply(FIRST), 20)
        engine.failures.append(PermanentError("there is no iptables"))
        await eventually(lambda: not engine.failures, "the failure")
        looks = len(engine.settled)
        await eventually(lambda: len(engine.settled) > looks, "another look")
        assert not running.done()


async def test_forward_rules_alone_are_given_up(
    engine: Remembering, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failures = [PermanentError("there is no way")]
    firewall = Firewall(FORWARD)
    async with kept(firewall) as running:
        await asyncio.wait_for(firewall.apply(FIRST), 20)
        await asyncio.wait_for(firewall.apply(SECOND), 20)
        assert not running.done()
        assert firewall.status()["problem"] == "there is no way"
        assert firewall.status()["given_up"] is True
    assert "there will be no forward rules: there is no way" in caplog.text
    assert engine.settled == []


async def test_without_rules_no_engine_is_opened(
    engine: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[RuleSet] = []
    monkeypatch.setattr(module, "_remove_own_table", looked.append)
    firewall = Firewall(FirewallOptions())
    async with kept(firewall):
        await asyncio.wait_for(firewall.apply(FIRST), 20)
        await asyncio.wait_for(firewall.apply(SECOND), 20)
    assert engine.kinds == []
    assert [rules.addresses for rules in looked] == [FIRST]


@pytest.mark.parametrize(
    ("asked", "configured", "taken"),
    [
        ("auto", "auto", "auto"),
        ("auto", "nftables", "nftables"),
        ("iptables", "nftables", "iptables"),
        ("nftables", "auto", "nftables"),
    ],
)
async def test_the_option_comes_before_the_configuration(
    engine: Remembering, asked: FirewallKind, configured: FirewallKind, taken: FirewallKind
) -> None:
    firewall = Firewall(FirewallOptions(ip_masq=True, kind=asked), kind=configured)
    async with kept(firewall):
        await asyncio.wait_for(firewall.apply(FIRST), 20)
    assert engine.kinds == [taken]
