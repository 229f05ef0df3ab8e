"""Mixed clusters, one for each flanneld that FLANNELD names and each kind of network."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flannel_sdk.engine.discovery import plugin_names
from flannel_sdk.lab import Families, LabSpec
from flannel_sdk.lab.names import LabNames
from flannel_sdk.model import Family
from tests.e2e.conftest import INSTANCE
from tests.e2e.flanneld.cluster import (
    FOLLOWS_SINCE,
    Kind,
    MixedCluster,
    flanneld_version,
    mixed_cluster,
)

VARIABLE = "FLANNELD"
"""Names a flanneld, or several with colons between."""
BINARIES = [Path(text) for text in os.environ.get(VARIABLE, "").split(":") if text]
NEEDED = {"iptables": "iptables", "ip6tables": "iptables", "nft": "nftables"}
"""Commands that flanneld runs, also where it is asked for no rules, and the Debian packages."""
SPECS = {
    "vxlan": LabSpec(backend="vxlan", store="etcd"),
    "vxlan-dual": LabSpec(backend="vxlan", store="etcd", families=Families.DUAL),
    "host-gw": LabSpec(backend="host-gw", store="etcd"),
    "host-gw-dual": LabSpec(backend="host-gw", store="etcd", families=Families.DUAL),
    "udp": LabSpec(backend="udp", store="etcd"),
    "udp-userspace": LabSpec(
        backend="udp", store="etcd", backend_options={"Datapath": "userspace"}
    ),
}
KINDS = {1: Kind.OURS, 2: Kind.FLANNELD, 3: Kind.OURS, 4: Kind.FLANNELD}


def _missing_in(flanneld: Path, spec: LabSpec) -> str | None:
    if len(spec.families.members) > 1 and flanneld_version(flanneld) < FOLLOWS_SINCE:
        return f"{flanneld} is out of subnets once the first IPv6 subnet is taken"
    return None


def _missing_here(backend: str) -> str | None:
    """What flanneld needs and this machine has not."""
    for command, package in NEEDED.items():
        if shutil.which(command) is None:
            return f"flanneld needs the command {command} (Debian package {package})"
    if not os.path.exists("/proc/sys/net/bridge/bridge-nf-call-iptables"):
        return "flanneld needs br_netfilter: there is no /proc/sys/net/bridge"
    if backend == "udp" and not os.path.exists("/dev/net/tun"):
        return "flanneld's udp backend needs /dev/net/tun"
    return None


def _missing_in_kernel(spec: LabSpec, kernel_lacks: dict[str, str]) -> str | None:
    needs = {"veth", "bridge", spec.backend}
    if Family.IPV6 in spec.families.members:
        needs.add("IPv6")
    for need in sorted(needs & kernel_lacks.keys()):
        return f"this kernel lacks {need}: {kernel_lacks[need]}"
    return None


def _missing_plugin(spec: LabSpec) -> str | None:
    for group, name in (("backends", spec.backend), ("subnet_managers", spec.store)):
        if name not in plugin_names(f"flannel_sdk.{group}"):
            return f"not run with a real flanneld: no plugin {name} is installed in {group}"
    return None


@pytest.fixture(scope="module", params=BINARIES or [Path()], ids=lambda path: path.name or "none")
def flanneld(request: pytest.FixtureRequest) -> Path:
    """A binary; skips where none is named, and one that is named and is none fails."""
    path: Path = request.param
    if not BINARIES:
        pytest.skip(f"not run with a real flanneld: {VARIABLE} names none")
    assert os.access(path, os.X_OK), f"{VARIABLE}: {path} is not to be run"
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SPECS if BINARIES else ["none"])
async def mixed(
    request: pytest.FixtureRequest,
    flanneld: Path,
    kernel_lacks: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[MixedCluster]:
    """Two nodes of ours and two flannelds, in turn; tests leave it so, with all pods connected."""
    spec = SPECS[request.param]
    reason = (
        _missing_plugin(spec)
        or _missing_in(flanneld, spec)
        or _missing_here(spec.backend)
        or _missing_in_kernel(spec, kernel_lacks)
    )
    if reason is not None:
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("mixed")
    async with mixed_cluster(spec, flanneld, INSTANCE, directory, KINDS) as cluster:
        yield cluster
        for number, node in cluster.nodes.items():
            log = node.files.log_tail(10_000)
            assert node.running, f"node {number} ended:\n{log[-5000:]}"
            assert "Traceback" not in log, f"node {number} said:\n{log[-5000:]}"
    assert LabNames(INSTANCE).leftovers() == []
    assert not directory.exists()
