"""The commands for peers: which run when, what they are told, and that one peer harms no other."""

import asyncio
from pathlib import Path

import pytest
from flannel_sdk_extension import plugin

from flannel_sdk.errors import RetryableError
from flannel_sdk.interfaces import Backend, BackendContext, Network
from flannel_sdk.model import (
    ByFamily,
    ExternalInterface,
    IPAddress,
    Lease,
    LeaseAttrs,
    Prefix,
)
from flannel_sdk.testing.scripted import ScriptedLeases
from flannel_sdk.testing.waiting import eventually
from tests.overlay import V4, V6, config, running, told

pytestmark = pytest.mark.slow

IPS = ByFamily(IPAddress.parse("192.0.2.1"), IPAddress.parse("2001:db8::1"))
CONTEXT = BackendContext(ExternalInterface("eth0", 2, 1500, IPS, IPS), None)


def peer(number: int, address: int | None = None, text: str | None = None) -> Lease:
    attrs = LeaseAttrs(
        ByFamily(IPAddress.parse(f"192.0.2.{address or number}")), "extension", ByFamily(text)
    )
    return Lease(ByFamily(Prefix.parse(f"10.5.{number}.0/24")), attrs)


class Site:
    """A backend whose commands write what they were told into a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ran"
        self.file.touch()
        self.backend: Backend = plugin.create(CONTEXT)

    def command(self, word: str, before: str = "") -> str:
        return f'{before} read -r data; echo "{word} $SUBNET $PUBLIC_IP $data" >> {self.file}'

    async def network(self, add: str = "", remove: str = "", **options: object) -> Network:
        settings = config(
            "extension",
            V4,
            SubnetAddCommand=add or self.command("add"),
            SubnetRemoveCommand=remove or self.command("remove"),
            **options,
        )
        leases = ScriptedLeases(ByFamily(Prefix.parse("10.5.1.0/24")))
        return await self.backend.register_network(settings, leases)

    def ran(self) -> list[str]:
        """The lines since the last call."""
        lines = [line.rstrip() for line in self.file.read_text().splitlines()]
        self.file.write_text("")
        return lines


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_each_peer_is_added_changed_and_removed(site: Site) -> None:
    network = await site.network()
    async with running(network) as feed:
        await feed.full([peer(2, text='"key of 2"'), peer(3)])
        assert sorted(site.ran()) == [
            "add 10.5.2.0/24 192.0.2.2 key of 2",
            "add 10.5.3.0/24 192.0.2.3",
        ]
        await feed.change([peer(3, address=33)])
        assert site.ran() == ["remove 10.5.3.0/24 192.0.2.3", "add 10.5.3.0/24 192.0.2.33"]
        await feed.change(removed=[peer(2).subnets, peer(9).subnets])
        assert site.ran() == ["remove 10.5.2.0/24 192.0.2.2 key of 2"]
        assert told(network, "peers", "known") == 1


async def test_d31_peers_are_told_of_in_both_families(site: Site) -> None:
    names = ("SUBNET", "IPV6SUBNET", "PUBLIC_IP", "PUBLIC_IPV6", "NETWORK")
    words = " ".join(f"${{{name}-unset}}" for name in names)
    settings = config("extension", V4, V6, SubnetAddCommand=f"echo {words} >> {site.file}")
    own = ByFamily(Prefix.parse("10.5.1.0/24"), Prefix.parse("fd00:5:0:1::/64"))
    network = await site.backend.register_network(settings, ScriptedLeases(own))
    both = Lease(
        ByFamily(Prefix.parse("10.5.2.0/24"), Prefix.parse("fd00:5:0:2::/64")),
        LeaseAttrs(
            ByFamily(IPAddress.parse("192.0.2.2"), IPAddress.parse("2001:db8::2")), "extension"
        ),
    )
    async with running(network) as feed:
        await feed.full([both])
        await feed.change([peer(3)])
    assert site.ran() == [
        "10.5.2.0/24 fd00:5:0:2::/64 192.0.2.2 2001:db8::2 unset",
        "10.5.3.0/24 unset 192.0.2.3 unset unset",
    ]


async def test_a_later_run_adds_all_again_and_removes_what_is_gone(site: Site) -> None:
    async with running(await site.network()) as feed:
        await feed.full([peer(2), peer(3)])
        site.ran()
    async with running(await site.network()) as feed:
        assert site.ran() == []
        await feed.full([peer(3)])
        assert sorted(site.ran()) == ["add 10.5.3.0/24 192.0.2.3", "remove 10.5.2.0/24 192.0.2.2"]


async def test_stopping_runs_nothing(site: Site) -> None:
    async with running(await site.network()) as feed:
        await feed.full([peer(2)])
        site.ran()
    assert site.ran() == []


async def test_a_failed_peer_is_tried_again_and_harms_no_other(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    gate = site.folder / "gate"
    before = f"[ $SUBNET != 10.5.2.0/24 ] || [ -e {gate} ] || {{ echo shut >&2; exit 1; }};"
    network = await site.network(add=site.command("add", before))
    async with running(network) as feed:
        await feed.full([peer(2), peer(3), peer(4)])
        assert sorted(site.ran()) == ["add 10.5.3.0/24 192.0.2.3", "add 10.5.4.0/24 192.0.2.4"]
        assert told(network, "failing") == {
            "count": 1,
            "reasons": {"10.5.2.0/24": "Backend.SubnetAddCommand failed with exit code 1: shut"},
        }
        gate.touch()
        await eventually(lambda: told(network, "failing", "count") == 0, "it works", 20.0)
        assert site.ran() == ["add 10.5.2.0/24 192.0.2.2"]
    assert caplog.text.count("trying again") == 1


async def test_a_change_of_a_failing_peer_is_tried_at_once(site: Site) -> None:
    before = "[ $PUBLIC_IP != 192.0.2.2 ] || exit 1;"
    network = await site.network(add=site.command("add", before))
    async with running(network) as feed:
        await feed.full([peer(2)])
        assert told(network, "failing", "count") == 1
        await feed.change([peer(2, address=22)])
        assert site.ran() == ["remove 10.5.2.0/24 192.0.2.2", "add 10.5.2.0/24 192.0.2.22"]
        assert told(network, "failing", "count") == 0


async def test_a_removal_that_fails_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flannel_sdk.backoff.Backoff.next_delay", lambda _: 0.0)
    network = await site.network(remove=site.command("remove") + "; exit 1")
    async with running(network) as feed:
        await feed.full([peer(2)])
        site.ran()
        await feed.change(removed=[peer(2).subnets])
        await eventually(lambda: told(network, "failing", "count") == 0, "it is given up", 20.0)
        assert site.ran() == ["remove 10.5.2.0/24 192.0.2.2"] * 5
        await feed.change([peer(2)])
        assert site.ran() == ["add 10.5.2.0/24 192.0.2.2"]


async def test_a_peer_that_hangs_is_killed_and_the_others_go_on(site: Site) -> None:
    before = "[ $SUBNET != 10.5.2.0/24 ] || sleep 100;"
    network = await site.network(add=site.command("add", before), Timeout=2)
    async with running(network) as feed:
        await feed.full([peer(2), peer(3)])
        assert site.ran() == ["add 10.5.3.0/24 192.0.2.3"]
        assert "did not end within 2 s" in str(told(network, "failing", "reasons"))


async def test_as_many_run_at_once_as_is_asked(site: Site) -> None:
    # Each waits until all four are there: only together can they end.
    here = site.folder / "here"
    here.mkdir()
    script = f"touch {here}/$$; while [ $(ls {here} | wc -l) -lt 4 ]; do sleep 0.01; done"
    network = await site.network(add=script, Parallel=4)
    async with running(network) as feed:
        await feed.full([peer(number) for number in range(2, 6)])
        assert told(network, "failing", "count") == 0


async def test_a_cancel_kills_what_runs(site: Site) -> None:
    pid = site.folder / "pid"
    network = await site.network(add=f"sleep 100 & echo $! > {pid}; wait")
    async with running(network) as feed:  # leaving it takes less than a second
        asking = asyncio.create_task(feed.full([peer(2)]))
        await eventually(lambda: pid.exists() and pid.read_text().endswith("\n"), "it runs")
        asking.cancel()
        await asyncio.wait([asking])
    exe = Path(f"/proc/{pid.read_text().strip()}/exe")
    await eventually(lambda: not exe.exists(), "it has ended")


async def test_who_cannot_be_served_is_counted_and_harms_no_other(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    network = await site.network()
    other = Lease(peer(2).subnets, LeaseAttrs(ByFamily(), "vxlan"))
    only6 = Lease(ByFamily(None, Prefix.parse("fd00:5:0:3::/64")), peer(3).attrs)
    async with running(network) as feed:
        await feed.full([other, only6, peer(4, text='{"VNI": 1}'), peer(5, text="{"), peer(6)])
        assert site.ran() == ["add 10.5.6.0/24 192.0.2.6"]
        assert told(network, "peers", "refused") == {
            "its backend is 'vxlan', not 'extension'": 1,
            "its lease has no address family of this node": 1,
            "its backend data is not a text": 1,
            "its backend data is not JSON": 1,
        }
        await feed.change([peer(2), peer(6, text="7")])
        assert site.ran() == ["add 10.5.2.0/24 192.0.2.2", "remove 10.5.6.0/24 192.0.2.6"]
    assert caplog.text.count("no traffic to") == 4


async def test_what_a_peer_publishes_is_never_run(site: Site) -> None:
    hostile = f'"$(touch {site.folder}/owned); `touch {site.folder}/owned`"'
    async with running(await site.network()) as feed:
        await feed.full([peer(2, text=hostile)])
    assert site.ran() == [f"add 10.5.2.0/24 192.0.2.2 {hostile[1:-1]}"]
    assert not (site.folder / "owned").exists()


async def test_what_worked_is_repeated_where_asked(site: Site) -> None:
    async with running(await site.network(Repeat=1)) as feed:
        await feed.full([peer(2)])
        await eventually(lambda: len(site.file.read_text().splitlines()) >= 2, "it is repeated")
        await feed.change(removed=[peer(2).subnets])
        lines = site.ran()
    assert lines[:2] == ["add 10.5.2.0/24 192.0.2.2"] * 2
    assert lines[-1] == "remove 10.5.2.0/24 192.0.2.2"


async def test_a_new_process_takes_away_what_is_gone_where_there_is_a_file(site: Site) -> None:
    file = site.folder / "state" / "peers"
    async with running(await site.network(StateFile=str(file))) as feed:
        await feed.full([peer(2, text='"old"'), peer(3), peer(4), peer(5)])
        await feed.change([peer(3, address=33)], [peer(4).subnets])
        site.ran()
    with file.open("ab") as hand:
        hand.write(b"no key\n10.5.7.0-24 no json\n\xff\n")
    site.backend = plugin.create(CONTEXT)
    async with running(await site.network(StateFile=str(file))) as feed:
        await feed.full([peer(3, address=34), peer(5)])
        assert sorted(site.ran()) == [
            "add 10.5.3.0/24 192.0.2.34",
            "add 10.5.5.0/24 192.0.2.5",
            "remove 10.5.2.0/24 192.0.2.2 old",
            "remove 10.5.3.0/24 192.0.2.33",
        ]
    lines = file.read_text().splitlines()
    assert "10.5.7.0-24" not in "".join(lines)


async def test_the_file_does_not_grow_for_ever(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flannel_sdk_extension.memory._SPARE_LINES", 10)
    file = site.folder / "peers"
    async with running(await site.network(StateFile=str(file))) as feed:
        await feed.full([peer(2)])
        for address in range(100, 150):
            await feed.change([peer(2, address=address)])
    assert len(file.read_text().splitlines()) < 20


async def test_a_file_that_cannot_be_written_is_said(site: Site) -> None:
    with pytest.raises(RetryableError, match=r"Backend.StateFile .* cannot be used"):
        await site.network(StateFile=str(site.file / "below a file"))


async def test_a_file_that_fails_later_costs_no_peer_its_commands(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    file = site.folder / "peers"
    async with running(await site.network(StateFile=str(file))) as feed:
        file.unlink()
        file.mkdir()
        await feed.full([peer(2), peer(3)])
        assert len(site.ran()) == 2
    assert caplog.text.count("cannot be used") == 1
