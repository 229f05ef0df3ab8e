"""Labs with real daemons, one for each combination of backend, families and underlay subnets."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flannel_sdk.lab import Families, Lab, LabNames, LabSpec
from flannel_sdk.lab.cleanup import clean_up
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.processes import ProcessId, ownership_mark, processes_marked
from flannel_sdk.lab.rights import has_lab_rights
from flannel_sdk.model import Family

INSTANCE = f"pytest{os.getpid()}"
"""Test runs may be concurrent, and a killed one is told by its pid."""
SPECS = {
    "vxlan-ipv4": LabSpec(backend="vxlan"),
    "vxlan-ipv6": LabSpec(backend="vxlan", families=Families.IPV6, nodes=2),
    "vxlan-dual": LabSpec(backend="vxlan", families=Families.DUAL),
    "vxlan-two-subnets": LabSpec(backend="vxlan", subnets=2),
    "vxlan-direct-dual-two-subnets": LabSpec(
        backend="vxlan",
        backend_options={"DirectRouting": True},
        families=Families.DUAL,
        subnets=2,
    ),
    "host-gw-ipv4": LabSpec(backend="host-gw"),
    "host-gw-dual": LabSpec(backend="host-gw", families=Families.DUAL),
}
SPECS_ASKED_FOR = {
    "udp-kernel": LabSpec(backend="udp", backend_options={"Datapath": "kernel"}, nodes=2),
    "udp-userspace": LabSpec(backend="udp", backend_options={"Datapath": "userspace"}, nodes=2),
}
"""Of a data plane that is more than kernel objects: for tests that name them."""


@pytest.fixture(scope="session")
def lab_rights() -> None:
    """Skips where namespaces cannot be made."""
    if not has_lab_rights():
        pytest.skip("needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (run as root)")
    for instance in _orphans():
        names = LabNames(instance)
        asyncio.run(clean_up(names, names.directory()))


def _orphans() -> set[str]:
    """Instances that test runs left behind which are alive no more."""
    found = set()
    for namespace in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
        match = re.match(r"flannel-lab-(pytestc?(\d+))-", namespace)
        if match and ProcessId.of(int(match[2])) is None:
            found.add(match[1])
    return found


_LINKS = {
    "vxlan": "type vxlan id 1 dstport 8472",
    "veth": "type veth peer name other",
    "bridge": "type bridge",
}


@pytest.fixture(scope="session")
def kernel_lacks(lab_rights: None) -> dict[str, str]:
    """Kinds of links that this kernel does not make, and IPv6, each with the reason."""
    name = f"flannel-lab-{INSTANCE}-1"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        lacks = {}
        for kind, arguments in _LINKS.items():
            command = f"ip -n {name} link add probe-{kind} {arguments}".split()
            made = subprocess.run(command, check=False, capture_output=True, text=True)
            if made.returncode:
                lacks[kind] = made.stderr.strip()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    if not os.path.exists("/proc/sys/net/ipv6"):
        lacks["IPv6"] = "there is no /proc/sys/net/ipv6"
    return lacks


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SPECS)
async def lab(
    request: pytest.FixtureRequest,
    kernel_lacks: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Lab]:
    """A lab that is up; tests leave it with all daemons running and all pairs connected."""
    spec = (SPECS | SPECS_ASKED_FOR)[request.param]
    needs = {"veth", "bridge", spec.backend}
    if Family.IPV6 in spec.families.members:
        needs.add("IPv6")
    for need in sorted(needs & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    directory = tmp_path_factory.mktemp("lab")
    made = await Lab.up(spec, instance=INSTANCE, directory=directory)
    try:
        yield made
        for number in made.state.nodes:
            log = made.files(number).log_tail(1000)
            assert "Traceback" not in log, f"the daemon of node {number} said:\n{log}"
    finally:
        await made.down()
    assert LabNames(INSTANCE).leftovers() == []
    assert processes_marked(OWNED_VARIABLE, ownership_mark(directory)) == []
    assert not directory.exists()


@pytest.fixture
def command_line_lab(lab_rights: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabNames]:
    """Names for a lab that a test makes through the program; removed after it."""
    monkeypatch.delenv("FLANNEL_LAB_DIR", raising=False)
    names = LabNames(f"pytestc{os.getpid()}")
    yield names
    assert names.leftovers() == []
    assert not Path(names.directory()).exists()
