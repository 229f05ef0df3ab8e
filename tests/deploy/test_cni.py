"""Pods get their addresses from our subnet.env by the real bridge and host-local plugins."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from flannel_sdk.hostnet.subnet_file import render_subnet_file, write_subnet_file
from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, NetworkConfig, Prefix
from flannel_sdk.testing.namespaces import Namespace
from tests.deploy.cni import Conf, delegate, subnet_file
from tests.deploy.manifests import of_kind, part

PLUGINS = Path("/usr/lib/cni")
SUBNETS = {"ipv4": "10.244.7.0/24", "ipv6": "fd00:244:0:7::/64"}
NETWORKS = {
    "ipv4": {"Network": "10.244.0.0/16"},
    "dual": {
        "Network": "10.244.0.0/16",
        "EnableIPv6": True,
        "IPv6Network": "fd00:244::/48",
    },
}

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        shutil.which("bridge", path=str(PLUGINS)) is None,
        reason="there are no CNI plugins here: install the package containernetworking-plugins",
    ),
]


@pytest.fixture(params=NETWORKS)
def conf(request: pytest.FixtureRequest, tmp_path: Path) -> Conf:
    """What the bridge plugin is given on a node of ours with the shipped cni-conf.json."""
    config = NetworkConfig.parse(json.dumps(NETWORKS[request.param]))
    subnets = ByFamily(
        Prefix.parse(SUBNETS["ipv4"]),
        Prefix.parse(SUBNETS["ipv6"]) if request.param == "dual" else None,
    )
    attrs = LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.1")), "vxlan")
    text = render_subnet_file(config, Lease(subnets, attrs), 1450, ip_masq=True)
    write_subnet_file(tmp_path / "subnet.env", text)
    shipped = str(part(of_kind("ConfigMap"), "data")["cni-conf.json"])
    return delegate(shipped, subnet_file(tmp_path / "subnet.env"), tmp_path / "networks")


def call(command: str, conf: Conf, node: Namespace, pod: Namespace) -> str:
    """Call the bridge plugin as a container runtime on ``node`` does for ``pod``."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "pod-1",
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(PLUGINS),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        ["ip", "netns", "exec", node.name, str(PLUGINS / "bridge")],
        input=json.dumps(conf),
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_pod_gets_an_address_of_our_subnet_and_our_mtu(
    conf: Conf, make_netns: Callable[[str], Namespace]
) -> None:
    node, pod = make_netns("node"), make_netns("pod")
    result = json.loads(call("ADD", conf, node, pod))
    try:
        wanted = [ip_network(text) for text in SUBNETS.values()]
        for given in result["ips"]:
            address = ip_address(given["address"].partition("/")[0])
            network = next(net for net in wanted if net.version == address.version)
            assert address in network
            gateway = ip_address(given["gateway"])
            assert gateway == network[1]
            pod.exec(f"ping -c1 -W5 {gateway}")
        ranges = conf["ipam"]["ranges"]  # type: ignore[index]  # it is the test's own mapping
        assert len(result["ips"]) == len(ranges)
        (link,) = json.loads(pod.ip("-json link show dev eth0"))
        assert link["mtu"] == 1450
    finally:
        call("DEL", conf, node, pod)
