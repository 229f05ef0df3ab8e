"""The protocol as a program sees it: registering, updates, status, and how it is ended."""

import asyncio
import logging
import os
from pathlib import Path

import pytest
from flannel_sdk_exec import plugin

from flannel_sdk.interfaces import CONTRACT_VERSION, BackendPlugin
from flannel_sdk.model import ByFamily, LeaseAttrs
from flannel_sdk.testing.waiting import eventually
from plugins.exec.tests.site import IPS, Site, peer
from tests.overlay import running, told
from tests.stopwatch import Stopwatch


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_the_plugin_says_its_contract() -> None:
    assert isinstance(plugin, BackendPlugin)
    assert plugin.contract_version == CONTRACT_VERSION


async def test_registering_publishes_what_the_program_wants(site: Site) -> None:
    do = """if message["type"] == "register":
        say(type="publish", protocol=1, backend_type="acme", backend_data={"ipv4": {"key": [1]}})
        answered = True"""
    network = await site.register(do, dual=True, Colour="blue")
    assert site.leases.published == [LeaseAttrs(IPS, "acme", ByFamily('{"key":[1]}'))]
    assert network.mtu == 1400
    register, lease, end = site.noted()
    assert isinstance(register, dict)
    options = register.pop("options")
    assert options["Colour"] == "blue"
    assert "Command" not in options
    assert register == {
        "type": "register",
        "protocol": 1,
        "network": {
            "ipv4": {"network": "10.5.0.0/16", "subnet_length": 24},
            "ipv6": {"network": "fd00:5::/48", "subnet_length": 64},
        },
        "interface": {
            "name": "eth0",
            "index": 2,
            "mtu": 1500,
            "addresses": {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
            "public_ips": {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
        },
        "lease": None,
    }
    assert lease == {
        "type": "lease",
        "lease": {
            "subnets": {"ipv4": "10.5.1.0/24", "ipv6": "fd00:5:0:1::/64"},
            "public_ips": {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"},
            "backend_type": "acme",
            "backend_data": {"ipv4": {"key": [1]}},
        },
    }
    assert end == "SIGTERM"


async def test_updates_are_told_as_to_any_backend(site: Site) -> None:
    network = await site.register()
    async with running(network) as feed:
        await feed.full([peer(2, data='{"key": "of 2"}'), peer(3)])
        await feed.change([peer(4)], [peer(3).subnets, peer(9).subnets])
    first, second = site.updates()
    assert first == {
        "type": "update",
        "id": 1,
        "full": True,
        "changed": [
            {
                "subnets": {"ipv4": "10.5.2.0/24"},
                "public_ips": {"ipv4": "192.0.2.2"},
                "backend_type": "exec",
                "backend_data": {"ipv4": {"key": "of 2"}},
            },
            {
                "subnets": {"ipv4": "10.5.3.0/24"},
                "public_ips": {"ipv4": "192.0.2.3"},
                "backend_type": "exec",
                "backend_data": {},
            },
        ],
        "removed": [],
    }
    assert second["removed"] == [{"ipv4": "10.5.3.0/24"}]
    assert (second["id"], second["full"]) == (2, False)
    assert site.noted()[-1] == "SIGTERM"


async def test_the_next_update_is_asked_for_when_the_last_is_acknowledged(site: Site) -> None:
    gate = site.log.with_name("gate")
    do = f"""if message["type"] == "update":
        while not os.path.exists({str(gate)!r}): time.sleep(0.01)"""
    async with running(await site.register(do)) as feed:
        telling = asyncio.create_task(feed.full([peer(2)]))
        await eventually(site.updates, "it has the update")
        assert not telling.done()
        gate.touch()
        await telling


async def test_the_lease_that_is_held_is_told_and_published_once(site: Site) -> None:
    network = await site.register()
    async with running(network) as feed:
        await feed.full()
    again = [note for note in site.noted() if isinstance(note, dict) and note.get("lease")]
    assert [note["type"] for note in again] == ["lease", "register", "lease"]
    assert len(site.leases.published) == 1


async def test_a_program_that_wants_something_else_published_gets_it(site: Site) -> None:
    do = """if message["type"] == "register":
        say(type="publish", protocol=1, backend_data={"ipv4": life})
        answered = True"""
    network = await site.register(do)
    async with running(network) as feed:
        await feed.full()
    data = [attrs.backend_data.ipv4 for attrs in site.leases.published]
    assert data == ["0", "1"]
    assert network.lease.attrs.backend_data.ipv4 == "1"


async def test_who_cannot_be_served_is_counted_and_not_told(site: Site) -> None:
    do = """if message["type"] == "update":
        refused = [{"peer": {"ipv4": "10.5.5.0/24"}, "reason": "no\\nway"}]
        say(type="ack", id=message["id"], refused=refused if message["full"] else [])
        answered = True"""
    network = await site.register(do)
    async with running(network) as feed:
        await feed.full([peer(2, backend="vxlan"), peer(3, data="{"), peer(4), peer(5)])
        assert told(network, "peers") == {
            "known": 2,
            "refused": {
                "its backend is 'vxlan', not 'exec'": 1,
                "its backend data is not JSON": 1,
                "no way": 1,
            },
        }
        await feed.change([peer(2), peer(4, backend="vxlan"), peer(5)])
        assert told(network, "peers") == {
            "known": 2,
            "refused": {"its backend is 'vxlan', not 'exec'": 1, "its backend data is not JSON": 1},
        }
    changed = [update["changed"] for update in site.updates()]
    assert [len(peers) for peers in changed if isinstance(peers, list)] == [2, 2]
    assert site.updates()[1]["removed"] == [{"ipv4": "10.5.4.0/24"}]


async def test_its_status_and_its_words_are_passed_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    do = """if message["type"] == "update":
        print("working\\x1b[31m", file=sys.stderr, flush=True)
        print("x" * 3_000_000, file=sys.stderr, flush=True)
        print("chatter that is no message", flush=True)
        say(type="status", facts={"links": 7})"""
    network = await site.register(do)
    async with running(network) as feed:
        await feed.full([peer(2)])
        assert told(network, "program", "facts") == {"links": 7}
        assert told(network, "program", "running") is True
        await eventually(lambda: "working" in caplog.text, "its words are in the log")
        await eventually(lambda: "x" * 300 in caplog.text, "the long line is, in part")
    assert "printed what is no message: chatter" in caplog.text
    assert "\x1b" not in caplog.text
    assert told(network, "program", "running") is False


@pytest.mark.slow
async def test_a_program_of_many_messages_may_take_its_time(site: Site) -> None:
    do = """if message["type"] == "update":
        for step in range(8):
            time.sleep(0.5)
            say(type="status", facts={"step": step})"""
    network = await site.register(do, Timeout=3)
    async with running(network) as feed:
        await feed.full([peer(2)])
        assert told(network, "program", "facts", "step") == 7


async def test_a_program_is_asked_whether_it_is_there(site: Site) -> None:
    network = await site.register(Timeout=2)
    async with running(network) as feed:
        await feed.full()
        await eventually(lambda: {"type": "ping", "id": 1} in site.noted(), "it was asked")
        await feed.change([peer(2)])


async def test_a_big_update_goes_through(site: Site) -> None:
    peers = [peer(2, data=f'"{"x" * 3_000_000}"')]
    async with running(await site.register()) as feed:
        await feed.full(peers)
    assert len(str(site.updates()[0])) > 3_000_000


async def test_a_program_that_ignores_sigterm_is_killed_with_all_it_started(site: Site) -> None:
    pids = site.log.with_name("pids")
    do = f"""if message["type"] == "update":
        import signal, subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "100"])
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")"""
    async with running(await site.register(do)) as feed:  # leaving takes less than a second
        await feed.full()
        stopwatch = Stopwatch()
    assert stopwatch.seconds < 1.0
    for pid in pids.read_text().split():
        exe = Path(f"/proc/{pid}/exe")
        await eventually(lambda exe=exe: not os.path.lexists(exe) or not exe.exists(), "ended")  # type: ignore[misc]  # mypy cannot infer a default
