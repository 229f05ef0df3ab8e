"""The daemon and the agent with firewall rules: when they are there, when they stay, what fails."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent, open_store
from flannel_sdk.agent.status_client import ask
from flannel_sdk.hostnet.firewall.rules import NO_RIGHT
from flannel_sdk.interfaces import SupportsConfigWrite
from flannel_sdk.testing.namespaces import Namespace, run
from tests.hostnet.hosts import NODE, OUTSIDE, Hosts, everything, until, watched
from tests.unit.agent.recording import Recording, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(150)]

CONFIG = """{{"Network": "{network}", "EnableNFTables": {nftables},
    "SubnetMin": "{subnet}", "SubnetMax": "{subnet}", "Backend": {{"Type": "{backend}"}}}}"""


class Daemon:
    """The program on the node of ``hosts``, with a store of its own."""

    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.node = hosts.node
        self.folder = folder
        self.socket = folder / "agent.sock"
        self.subnet_file = folder / "subnet.env"
        self._store = ["--store", "sqlite", "--store-option", f"path={folder / 'net.db'}"]
        self.put_network("10.5.0.0/16", "10.5.3.0")

    def put_network(self, network: str, subnet: str) -> None:
        program = f"{sys.executable} -m flannel_sdk.cli config put -"
        config = CONFIG.format(network=network, subnet=subnet, nftables="false", backend="host-gw")
        run(f"{program} {' '.join(self._store)}", config)

    def command(self, *flags: str) -> list[str]:
        return [
            *(sys.executable, "-m", "flannel_sdk.cli", "daemon", *self._store),
            *("--iface", "out", "--subnet-file", str(self.subnet_file)),
            *("--status-socket", str(self.socket), *flags),
        ]

    @contextmanager
    def running(self, *flags: str) -> Iterator["subprocess.Popen[str]"]:
        """It runs, its subnet.env is there."""
        before = _changed(self.subnet_file)
        command = ["ip", "netns", "exec", self.node.name, *self.command(*flags)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            end = time.monotonic() + 40
            while _changed(self.subnet_file) == before:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.01)
            yield process
        finally:
            process.kill()
            process.communicate()

    def fails(self, setup: str, *flags: str) -> str:
        """Run it after ``setup`` in a mount namespace of its own; the sentence it ends with."""
        script = f"{setup} && exec {' '.join(self.command(*flags))}"
        done = subprocess.run(
            ["ip", "netns", "exec", self.node.name, "unshare", "-m", "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]


def _changed(path: Path) -> int:
    """When it was, in nanoseconds; 0 for a file that is not there."""
    return path.stat().st_mtime_ns if path.exists() else 0


async def test_rules_are_there_before_subnet_env_and_stay_when_it_is_killed(
    hosts: Hosts, tmp_path: Path, need: Callable[[str], None]
) -> None:
    """Not a packet of a pod goes out under its own address, from the first start on."""
    need("nft")
    daemon = Daemon(hosts, tmp_path)
    with daemon.running("--ip-masq") as process:
        listed = hosts.node.exec("nft list ruleset")
        assert "FLANNEL_IPMASQ=true" in daemon.subnet_file.read_text()
        assert listed.count("masquerade fully-random") == 2
        assert listed.count(" accept\n") == 2
        with watched(hosts.pod, hosts.outside, str(OUTSIDE.ipv4)) as sources:
            await until(lambda: sources().total() > 20)
            process.kill()
            process.wait()
            with daemon.running("--ip-masq") as second:
                seen = sources().total()
                await until(lambda: sources().total() > seen + 20)
                second.send_signal(signal.SIGTERM)
                assert second.wait(40) == 0
            seen = sources().total()
            await until(lambda: sources().total() > seen + 20)
    assert set(sources()) == {NODE.ipv4}
    assert hosts.node.exec("nft list ruleset") == listed


def test_rules_of_the_network_before_go_when_it_starts_with_another(
    hosts: Hosts, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need("nft")
    daemon = Daemon(hosts, tmp_path)
    with daemon.running("--ip-masq"):
        pass
    assert "10.5.3.0/24" in hosts.node.exec("nft list ruleset")
    daemon.put_network("10.77.0.0/16", "10.77.1.0")
    with daemon.running("--ip-masq"):
        listed = hosts.node.exec("nft list ruleset")
        assert "10.77.1.0/24" in listed
        assert "10.5." not in listed


def test_status_tells_of_the_rules(
    hosts: Hosts, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need("nft")
    daemon = Daemon(hosts, tmp_path)
    with daemon.running("--ip-masq"):
        answer = ask(daemon.socket, "status")
    assert isinstance(answer, dict)
    assert answer["firewall"] == {
        "kind": "nftables",
        "place": "table inet flannel-sdk-10.5.0.0/16",
        "masquerade": True,
        "forward": True,
        "settled": True,
        "given_up": False,
        "repairs": {},
        "problem": None,
    }


def test_iptables_is_taken_where_it_is_asked_for(
    hosts: Hosts, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need("iptables-nft")
    daemon = Daemon(hosts, tmp_path)
    with daemon.running("--ip-masq", "--firewall", "iptables"):
        assert "FLANNEL-POSTRTG" in hosts.node.exec("iptables-save")
        assert "flannel-sdk" not in hosts.node.exec("nft list ruleset")


def test_without_iptables_it_ends_with_a_sentence(hosts: Hosts, tmp_path: Path) -> None:
    daemon = Daemon(hosts, tmp_path)
    sentence = daemon.fails("mount -t tmpfs none /usr/sbin", "--ip-masq", "--firewall=iptables")
    assert "need iptables, which is not installed here: install it" in sentence


_FIREWALL = """
import asyncio, sys
from tests.hostnet.hosts import ADDRESSES, everything
from flannel_sdk.errors import PrivilegeError
from flannel_sdk.hostnet.firewall import Firewall

async def main():
    firewall = Firewall(everything(sys.argv[1]))
    setting = asyncio.create_task(firewall.apply(ADDRESSES))
    try:
        await firewall.run()
    except PrivilegeError as error:
        print(error)
    finally:
        setting.cancel()

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["nftables", "iptables", "auto"])
def test_without_the_right_to_it_ends_with_a_sentence(netns: Namespace, kind: str) -> None:
    command = ["ip", "netns", "exec", netns.name, "setpriv", "--bounding-set=-net_admin,-net_raw"]
    done = subprocess.run(
        [*command, sys.executable, "-c", _FIREWALL, kind],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == f"{NO_RIGHT}\n"
    assert done.stderr == ""


async def test_a_wider_network_gets_rules_of_its_own_live(
    netns: Namespace, need: Callable[[str], None]
) -> None:
    need("nft")
    netns.add_veth("eth7", "192.0.2.1/24")
    store = open_store("memory", {"name": f"firewall-{os.getpid()}"})
    assert isinstance(store, SupportsConfigWrite)
    narrow = CONFIG.format(
        network="10.5.0.0/16", subnet="10.5.3.0", nftables="true", backend="recording"
    )
    await store.put_network_config(narrow)
    backend = Recording()
    options = AgentOptions(InterfaceRequest("eth7"), firewall=everything("auto"), netns=netns.path)
    agent = NodeAgent(store, options, backends=lambda _: backend)
    async with running(agent):
        await asyncio.wait_for(agent.wait_registered(), 40)
        assert "table inet flannel-sdk-10.5.0.0/16" in netns.exec("nft list ruleset")
        await store.put_network_config(narrow.replace("10.5.0.0/16", "10.4.0.0/15"))
        wide = "table inet flannel-sdk-10.4.0.0/15"
        await until(lambda: wide in netns.exec("nft list ruleset"), 40)
        assert "10.5.0.0/16" not in netns.exec("nft list ruleset")
    assert wide in netns.exec("nft list ruleset")
    await store.aclose()
