"""The embedding example, run as people would run it."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "embed.py"


@pytest.mark.root
@pytest.mark.slow
def test_two_networks_join_in_one_process() -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLE], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = sorted(done.stdout.splitlines())
    assert [line.split(".")[0] for line in lines] == [
        "flannel-embed-a: subnet 10",
        "flannel-embed-b: subnet 10",
    ]
    assert lines[0].startswith("flannel-embed-a: subnet 10.7.")
    assert lines[0].endswith("MTU 1450")
    assert lines[1].startswith("flannel-embed-b: subnet 10.8.")
    assert lines[1].endswith("MTU 1500")
    names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert "flannel-embed" not in names.stdout
