"""Many nodes that start at once, each a process of its own, on a real etcd."""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from flannel_sdk.model import NetworkConfig, encode_attrs, parse_subnet_key
from plugins.etcd.tests.nodes import node
from plugins.etcd.tests.servers import Setup, StartEtcd

ROOT = Path(__file__).parents[4]
SINGLE = '{"Network":"10.3.0.0/16","SubnetMax":"10.3.200.0"}'
DUAL = """{"Network":"10.3.0.0/24","SubnetLen":30,
           "EnableIPv6":true,"IPv6Network":"fc00::/56","IPv6SubnetLen":62}"""


@contextmanager
def nodes(prefix: str, count: int, urls: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "plugins.etcd.tests.store.worker", prefix, str(count), *urls],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("count", "document"),
    [(200, SINGLE), (60, DUAL)],
    ids=["200 nodes for 200 subnets", "60 nodes for 62 pairs"],
)
def test_d3_nodes_that_start_at_once_get_a_subnet_each(
    start_etcd: StartEtcd, prefix: str, count: int, document: str
) -> None:
    cluster = start_etcd(Setup())
    control = cluster.control
    control.put(f"{prefix}/config", document)
    with nodes(prefix, count, cluster.urls) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for _ in range(count):
            assert process.stdout.readline() == "ready\n"
        began = time.monotonic()
        process.stdin.close()
        told = [process.stdout.readline().split() for _ in range(count)]
        took = time.monotonic() - began
        failures = process.wait(60)
    assert [words for words in told if len(words) != 3] == []
    assert failures == 0
    seconds = [float(words[2]) for words in told]
    print(
        f"{count} nodes started at once: all had a lease in {took:.2f} s;"
        f" one in {statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (longest)"
    )
    entries = {
        stored.key.rpartition("/")[2]: stored for stored in control.keys(f"{prefix}/subnets/")
    }
    assert entries.keys() == {words[1] for words in told}
    values = {name: entry.value.encode() for name, entry in entries.items()}
    assert values == {name: encode_attrs(node(int(number))) for number, name, _ in told}
    held = [parse_subnet_key(name) for name in entries]
    for family in NetworkConfig.parse(document).pools.families:
        assert len({subnets.get(family) for subnets in held}) == count
    # One etcd lease each, and no other.
    assert control.leases() == {stored.lease for stored in entries.values()}
    assert len(control.leases()) == count
