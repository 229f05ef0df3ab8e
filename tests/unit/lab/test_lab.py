"""The lab itself, with stand-ins for the daemons: built, pinged, changed, gone without trace."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from flannel_sdk.lab import Lab, LabError, LabNames, LabSpec, probing
from flannel_sdk.lab.cleanup import clean_up
from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.lab.processes import ownership_mark, processes_marked
from flannel_sdk.lab.reports import report_nodes

pytestmark = [pytest.mark.root]
INSTANCE = f"u{os.getpid()}"


def assert_nothing_left(directory: Path) -> None:
    assert LabNames(INSTANCE).leftovers() == []
    assert processes_marked(OWNED_VARIABLE, ownership_mark(directory)) == []
    assert not directory.exists()


async def test_pods_reach_each_other_with_full_packets(lab: Lab) -> None:
    assert (await lab.wait_connected()).complete
    assert (await lab.ping(packet_bytes=1400)).complete
    too_long = await lab.ping(packet_bytes=1401, timeout=0.1)
    assert {result.refusal for result in too_long.results} == {"Message too long"}
    assert len(too_long.silent) == 2


async def test_nodes_report_what_they_are(lab: Lab) -> None:
    first, second = await report_nodes(Lab.attach(instance=INSTANCE, directory=lab.directory))
    assert (first.netns, first.state, first.mtu) == (f"flannel-lab-{INSTANCE}-1", "running", 1400)
    assert first.underlay == ["192.168.101.1/24"]
    assert first.subnets == ["10.5.1.0/24"]
    assert second.pod == ["10.5.2.2"]
    await lab.stop_daemon(1, signal.SIGKILL)
    assert [report.state for report in await report_nodes(lab)] == ["dead", "running"]


async def test_a_daemon_is_stopped_and_started_without_loss(lab: Lab) -> None:
    await lab.wait_connected()
    async with probing(lab.pod(1), lab.pod(2)) as stream:
        await stream.wait_answered(20)
        code, _ = await lab.stop_daemon(1)
        assert code == 0
        with pytest.raises(LabError, match="does not run"):
            await lab.stop_daemon(1)
        await lab.start_daemon(1)
        await stream.wait_answered(20)
    assert stream.report.lost == ()
    assert stream.report.sent == stream.report.answered


async def test_a_probe_stream_counts_what_is_lost(lab: Lab) -> None:
    await lab.wait_connected()
    node = lab.names.node(1)
    async with probing(lab.pod(1), lab.pod(2), patience=0.05) as stream:
        await stream.wait_answered(5)
        await ip_batch(["route add blackhole 10.5.2.2/32"], netns=node)
        await stream.wait_sent(10)
        await ip_batch(["route del blackhole 10.5.2.2/32"], netns=node)
        await stream.wait_answered(5)
    report = stream.report
    assert len(report.lost) >= 8
    assert report.sent == report.answered + len(report.lost)
    assert report.longest_gap == pytest.approx(len(report.lost) * report.interval)


async def test_a_node_joins_and_one_leaves(lab: Lab) -> None:
    assert await lab.add_node() == 3
    assert len((await lab.wait_connected()).results) == 6
    await lab.remove_node(1)
    assert sorted(lab.state.nodes) == [2, 3]
    assert (await lab.wait_connected()).complete
    with pytest.raises(LabError, match="no node 1"):
        lab.node(1)


async def test_two_labs_of_one_name_do_not_mix(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="lab down"):
        await Lab.up(LabSpec(), instance=INSTANCE, directory=tmp_path / "other")
    assert (await lab.wait_connected()).complete


async def test_a_daemon_that_ends_takes_the_lab_down_and_is_quoted(
    lab_rights: None, tmp_path: Path
) -> None:
    def command(spec: LabSpec, files: NodeFiles) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit('no way')"]

    with pytest.raises(LabError, match="no way"):
        await Lab.up(LabSpec(nodes=1), instance=INSTANCE, directory=tmp_path / "l", command=command)
    assert_nothing_left(tmp_path / "l")


BUILD = """
import asyncio, sys, pathlib
sys.path.insert(0, sys.argv[2])
import conftest
from flannel_sdk.lab import Lab, LabSpec
asyncio.run(Lab.up(LabSpec(nodes=3), instance=sys.argv[3], directory=pathlib.Path(sys.argv[1]),
                   command=conftest.standin, progress=lambda text: print(text, flush=True)))
print("up", flush=True)
"""


@pytest.mark.parametrize("moment", ["wiring", "starting", "up"])
async def test_down_finds_all_that_a_killed_up_has_made(
    lab_rights: None, tmp_path: Path, moment: str
) -> None:
    directory = tmp_path / "lab"
    here = os.path.dirname(__file__)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BUILD, str(directory), here, INSTANCE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async for line in child.stdout:
        if line.decode().startswith(moment):
            break
    child.kill()
    await child.communicate()
    assert LabNames(INSTANCE).leftovers() != [] or moment == "wiring"
    await clean_up(LabNames(INSTANCE), directory)
    assert_nothing_left(directory)
