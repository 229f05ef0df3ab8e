"""What our nodes and flanneld's write into etcd is alike, and each lets the other's leases be."""

import re
from signal import Signals

import pytest
from flannel_sdk_udp.peer_data import KERNEL_DATA

from flannel_sdk.model import decode_entry, encode_attrs, format_subnet_key
from flannel_sdk.testing.waiting import eventually
from tests.e2e.flanneld.cluster import PATIENCE, SUBNETS, Kind, MixedCluster

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.server,
    pytest.mark.asyncio(loop_scope="module"),
]

DAY = 86_400


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after each test: a daemon started again is a new child.

    The cluster's fixture checks after the last test that all is gone.
    """


def _layout(text: str) -> str:
    """A key and a value with all addresses and numbers blotted out."""
    text = re.sub(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", "MAC", text)
    text = text.replace(f',"BackendData":{KERNEL_DATA}', "")  # ours alone, beside flannel's
    text = re.sub(r"\d+(\.\d+){3}", "IPV4", text)
    return re.sub(r"fd[0-9a-f:]+", "IPV6", text)


async def test_the_entries_of_both_have_one_layout(mixed: MixedCluster) -> None:
    entries = {number: mixed.entry(number) for number in mixed.nodes}
    layouts = {_layout(f"{entry.key} {entry.value}") for entry in entries.values()}
    assert len(layouts) == 1, layouts
    assert len(mixed.entries()) == len(entries)


async def test_flannelds_entries_are_encoded_to_the_same_bytes(mixed: MixedCluster) -> None:
    for number in mixed.of(Kind.FLANNELD):
        entry = mixed.entry(number)
        name = entry.key.removeprefix(SUBNETS)
        lease = decode_entry(name, entry.value.encode())
        assert format_subnet_key(lease.subnets) == name
        assert encode_attrs(lease.attrs).decode() == entry.value


async def test_each_entry_has_an_etcd_lease_of_a_day_of_its_own(mixed: MixedCluster) -> None:
    leases = {number: mixed.entry(number).lease for number in mixed.nodes}
    assert len(set(leases.values())) == len(leases)
    granted = {number: mixed.granted(lease) for number, lease in leases.items()}
    assert granted == dict.fromkeys(leases, (DAY, 1))


async def test_each_kind_knows_all_nodes(mixed: MixedCluster) -> None:
    await mixed.wait_connected()
    for number in mixed.of(Kind.OURS):
        feed = (await mixed.status(number))["feed"]
        assert isinstance(feed, dict)
        told = (feed["peers"], feed["refused"], feed["malformed"])
        assert told == (len(mixed.nodes) - 1, {}, 0)
    if mixed.spec.backend == "udp":
        return  # flanneld's udp has its routes in the process
    for number in mixed.nodes:
        others = {
            subnet for other in mixed.nodes if other != number for subnet in mixed.subnets(other)
        }
        assert others <= mixed.nodes[number].routes()


@pytest.mark.parametrize("kind", Kind)
async def test_a_lease_that_runs_out_is_renewed_and_peers_stay(
    mixed: MixedCluster, kind: Kind
) -> None:
    """Somebody puts the entry on a short etcd lease: its node renews it, for a day again."""
    await mixed.wait_connected()
    control, number = mixed.etcd.control, mixed.of(kind)[0]
    if mixed.nodes[number] not in mixed.followers():
        pytest.skip("a flanneld this old may miss it")
    before = mixed.entry(number)
    short = control.grant(8)
    control.put(before.key, before.value, short)
    await eventually(lambda: mixed.entry(number).lease != short, "a renewal", PATIENCE)
    renewed = mixed.entry(number)
    assert (renewed.key, renewed.value) == (before.key, before.value)
    assert mixed.granted(renewed.lease) == (DAY, 1)
    if kind is Kind.OURS:
        await eventually(lambda: short not in control.leases(), "the old lease revoked", PATIENCE)
    await mixed.wait_connected()


@pytest.mark.parametrize("before", Kind)
async def test_our_node_leaves_no_etcd_lease_behind(mixed: MixedCluster, before: Kind) -> None:
    """Also of a flanneld that it takes over from."""
    number = mixed.of(before)[0]
    leases = mixed.etcd.control.leases() - {mixed.entry(number).lease}
    mixed.stop(number, Signals.SIGKILL)
    await mixed.start(number, Kind.OURS)
    now = leases | {mixed.entry(number).lease}
    await eventually(lambda: mixed.etcd.control.leases() == now, "no other lease", PATIENCE)
    if before is Kind.FLANNELD:
        mixed.stop(number)
        await mixed.start(number, before)
    await mixed.wait_connected()


async def test_our_entry_is_deleted_and_comes_back(mixed: MixedCluster) -> None:
    await mixed.wait_connected()
    number = mixed.of(Kind.OURS)[0]
    before = mixed.entry(number)
    mixed.etcd.control.delete(before.key)
    await eventually(lambda: mixed.entries_of(number), "a new entry", PATIENCE)
    after = mixed.entry(number)
    assert (after.key, after.value) == (before.key, before.value)
    assert mixed.granted(after.lease) == (DAY, 1)
    await mixed.wait_connected()


async def test_flannelds_entry_is_deleted_and_our_nodes_forget_it(mixed: MixedCluster) -> None:
    """flanneld ends when its lease is gone (and says 0); started again it joins again."""
    await mixed.wait_connected()
    number = mixed.of(Kind.FLANNELD)[0]
    node, ours = mixed.nodes[number], mixed.nodes[mixed.of(Kind.OURS)[0]]
    gone = set(mixed.subnets(number))
    mixed.etcd.control.delete(mixed.entry(number).key)
    await eventually(lambda: not gone & ours.routes(), "our node drops the routes", PATIENCE)
    if node in mixed.followers():
        await eventually(lambda: not node.running, "flanneld ends", PATIENCE)
    else:
        mixed.stop(number, Signals.SIGKILL)
    await mixed.start(number)
    await mixed.wait_connected()
