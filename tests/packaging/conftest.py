"""Probes: can scripts run in namespaces of their own, and does the kernel have vxlan."""

import subprocess

import pytest

APART = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child")
"""Runs a command in new namespaces for network, mounts and processes, which end with it."""


def refusal(script: str) -> str | None:
    """What a short script in namespaces of its own failed with; None if it went well."""
    command = [*APART, "sh", "-euc", f"mount -t proc proc /proc; {script}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return (done.stderr.strip() or "no reason given") if done.returncode else None


@pytest.fixture(scope="session")
def apart() -> None:
    """Skips where namespaces cannot be made."""
    if reason := refusal("ip link set lo up"):
        pytest.skip(f"namespaces cannot be made here: {reason}")


@pytest.fixture(scope="session")
def vxlan(apart: None) -> None:
    """Skips where the kernel makes no vxlan device."""
    if reason := refusal("ip link add probe type vxlan id 1 dstport 8472"):
        pytest.skip(f"this kernel makes no vxlan device: {reason}")
