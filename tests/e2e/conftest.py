"""Labs with real daemons, one for each combination of backend, families and underlay subnets."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from flannel_sdk.lab import Families, Lab, LabNames, LabSpec
from flannel_sdk.lab.names import OWNED_VARIABLE
from flannel_sdk.lab.processes import ownership_mark, processes_marked
from flannel_sdk.lab.rights import has_lab_rights

INSTANCE = "e2e"
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


@pytest.fixture(scope="session")
def lab_rights() -> None:
    """Skips where namespaces cannot be made."""
    if not has_lab_rights():
        pytest.skip("needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (run as root)")


@pytest.fixture(scope="session")
def kernel_has_vxlan(lab_rights: None) -> str | None:
    """None, or why the kernel makes no vxlan device."""
    name = "flannel-e2e-probe"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        made = subprocess.run(
            f"ip -n {name} link add probe type vxlan id 1 dstport 8472".split(),
            check=False,
            capture_output=True,
            text=True,
        )
        return made.stderr.strip() or None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SPECS)
async def lab(
    request: pytest.FixtureRequest,
    kernel_has_vxlan: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Lab]:
    """A lab that is up; tests leave it with all daemons running and all pairs connected."""
    spec = SPECS[request.param]
    if spec.backend == "vxlan" and kernel_has_vxlan:
        pytest.skip(f"this kernel makes no vxlan device: {kernel_has_vxlan}")
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
    names = LabNames("e2ecli")
    yield names
    assert names.leftovers() == []
    assert not Path(names.directory()).exists()
