"""A lab whose daemons are stand-ins, so that the lab is tested apart from the agent."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from flannel_sdk.lab import Lab, LabSpec
from flannel_sdk.lab.node_files import NodeFiles
from flannel_sdk.lab.rights import has_lab_rights

INSTANCE = f"u{os.getpid()}"
"""Test runs may be concurrent."""
STANDIN = Path(__file__).with_name("standin_daemon.py")


def standin(spec: LabSpec, files: NodeFiles) -> Sequence[str]:
    """The command line of the stand-in; it knows nodes 1 to 4 from the start."""
    return [
        *(sys.executable, "-I", str(STANDIN), str(files.number), "4", "192.168.101"),
        *(str(files.subnet_file), str(files.status_socket)),
    ]


@pytest.fixture
def lab_rights() -> None:
    """Skips where namespaces cannot be made."""
    if not has_lab_rights():
        pytest.skip("needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN (run as root)")


@pytest.fixture
async def lab(lab_rights: None, tmp_path: Path) -> AsyncIterator[Lab]:
    """Two nodes with stand-ins, and pods that reach each other."""
    made = await Lab.up(LabSpec(nodes=2), instance=INSTANCE, directory=tmp_path, command=standin)
    try:
        yield made
    finally:
        await made.down()
