"""A node behind NAT: peers send to its public IP, which none of its interfaces has (D17)."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from flannel_sdk.lab import Lab, LabSpec
from flannel_sdk.lab.daemon import flannel_sdk_daemon
from flannel_sdk.lab.iproute import ip_batch
from flannel_sdk.lab.node_files import NodeFiles

PUBLIC = "192.168.102.201"
INSIDE = "192.168.101.1"
RULES = f"""
table ip behind {{
  chain before {{
    type nat hook prerouting priority -100
    ip daddr {PUBLIC} dnat to {INSIDE}
  }}
  chain after {{
    type nat hook postrouting priority 100
    oifname "br2" ip saddr {INSIDE} snat to {PUBLIC}
  }}
}}
"""
PATIENCE = 20.0

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None,
        reason="there is no nft here: install the package nftables",
    ),
]


def behind_nat(spec: LabSpec, files: NodeFiles) -> Sequence[str]:
    """Our daemon; node 1 is told the address that the router translates."""
    words = ["--public-ip", PUBLIC] if files.number == 1 else []
    return [*flannel_sdk_daemon(spec, files), *words]


async def test_d17_a_node_behind_nat_is_reached_by_its_public_ip(
    kernel_lacks: dict[str, str], tmp_path: Path
) -> None:
    for need in sorted({"vxlan", "veth", "bridge"} & kernel_lacks.keys()):
        pytest.skip(f"this kernel lacks {need}: {kernel_lacks[need]}")
    spec = LabSpec(backend="vxlan", nodes=2, subnets=2)
    instance = f"pytest{os.getpid()}"
    lab = await Lab.up(spec, instance=instance, directory=tmp_path / "lab", command=behind_nat)
    try:
        await ip_batch([f"address add {PUBLIC}/24 dev br2"], netns=lab.names.router)
        made = subprocess.run(
            ["ip", "netns", "exec", lab.names.router, "nft", "-f", "-"],
            input=RULES,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            pytest.skip(f"this kernel translates no addresses: {made.stderr.strip()}")
        await ip_batch([f"route add blackhole {INSIDE}"], netns=lab.names.node(2))
        matrix = await lab.wait_connected(PATIENCE)
        assert matrix.complete, f"silent: {matrix.silent}"
    finally:
        await lab.down()
