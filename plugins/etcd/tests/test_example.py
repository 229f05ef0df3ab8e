"""``examples/watch_leases.py``, run as people would run it, on an etcd that is restarted."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from plugins.etcd.tests.servers import Setup, StartEtcd

EXAMPLE = Path(__file__).parents[3] / "examples" / "watch_leases.py"
LEASE = '{"PublicIP":"192.0.2.%d","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}'

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("by", ["arguments", "environment"])
async def test_it_prints_leases_as_they_come_and_go(
    start_etcd: StartEtcd, prefix: str, by: str
) -> None:
    etcd = start_etcd(Setup())
    control = etcd.control
    control.put(f"{prefix}/subnets/10.3.1.0-24", LEASE % 1)
    arguments, told = ["--environ"], dict(os.environ)
    if by == "arguments":
        arguments = ["--endpoints", etcd.member.url, "--prefix", prefix]
    else:
        told |= {"FLANNELD_ETCD_ENDPOINTS": etcd.member.url, "FLANNELD_ETCD_PREFIX": prefix}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), *arguments), env=told, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None

    async def line() -> str:
        assert child.stdout is not None
        async with asyncio.timeout(20):
            return (await child.stdout.readline()).decode().rstrip()

    try:
        assert await line() == "+ 10.3.1.0/24 at 192.0.2.1 (vxlan)"
        control.put(f"{prefix}/subnets/10.3.2.0-24", LEASE % 2)
        assert await line() == "+ 10.3.2.0/24 at 192.0.2.2 (vxlan)"
        control.put(f"{prefix}/subnets/10.3.2.0-24", LEASE % 2)
        control.put(f"{prefix}/subnets/10.3.2.0-24", LEASE % 3)
        assert await line() == "~ 10.3.2.0/24 at 192.0.2.3 (vxlan)"
        control.put(f"{prefix}/subnets/10.3.9.0-24", "nonsense")
        assert (await line()).startswith("! 10.3.9.0-24: ")
        etcd.member.restart()
        etcd.control.delete(f"{prefix}/subnets/10.3.1.0-24")
        assert await line() == "- 10.3.1.0/24"
        child.send_signal(signal.SIGINT)
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_what_waiting_does_not_heal_is_one_sentence() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), "--endpoints", "ftp://x"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await child.communicate()
    assert (child.returncode, said.count(b"\n")) == (1, 1)
    assert said.startswith(b"The endpoint 'ftp://x'")
