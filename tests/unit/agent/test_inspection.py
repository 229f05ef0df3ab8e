"""What doctor is told of the store: read anew, beside what is served."""

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from flannel_sdk.agent import inspection
from flannel_sdk.agent.inspection import inspect_store
from flannel_sdk.engine.feed import LeaseFeed
from flannel_sdk.errors import StoreUnavailable
from flannel_sdk.interfaces import SubnetManager
from flannel_sdk.model import (
    ByFamily,
    IPAddress,
    Lease,
    LeaseAttrs,
    LeaseSnapshot,
    Malformed,
    NetworkConfig,
    Prefix,
)

CONFIG = NetworkConfig.parse('{"Network": "10.5.0.0/16"}')


def lease(number: int) -> Lease:
    attrs = LeaseAttrs(ByFamily(IPAddress.parse(f"192.0.2.{number}")), "vxlan")
    return Lease(ByFamily(Prefix.parse(f"10.5.{number}.0/24")), attrs, 9e9, 1)


OWN = lease(1)


class Store:
    """Tells one snapshot."""

    name = "a store"

    def __init__(self, *leases: Lease, error: Exception | None = None) -> None:
        self.snapshot = LeaseSnapshot(list(leases), 2, [Malformed("10.5.9.0-24", "not JSON")])
        self.error = error

    async def watch_leases(self) -> Any:
        if self.error is not None:
            raise self.error
        yield self.snapshot
        await asyncio.Event().wait()


def feed(*leases: Lease) -> LeaseFeed:
    made = LeaseFeed(CONFIG, OWN)
    made.apply(LeaseSnapshot(list(leases), 1))
    return made


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "_PAUSE", 0.0)


async def inspected(store: Store, served: LeaseFeed) -> dict[str, Any]:
    found = await inspect_store(cast("SubnetManager", store), served, OWN)
    return dict(found)


async def test_a_store_that_agrees() -> None:
    found = await inspected(Store(OWN, lease(2)), feed(OWN, lease(2)))
    assert (found["entries"], found["own"], found["error"]) == (2, "present", None)
    assert (found["missing"], found["extra"], found["differing"]) == ([], [], [])
    assert found["malformed"] == [{"key": "10.5.9.0-24", "reason": "not JSON"}]


async def test_each_way_to_differ() -> None:
    moved = replace(lease(3), attrs=LeaseAttrs(ByFamily(IPAddress.parse("192.0.2.33")), "vxlan"))
    served = feed(OWN, lease(2), lease(3))
    found = await inspected(Store(replace(OWN, attrs=moved.attrs), moved, lease(4)), served)
    assert found["own"] == "differs"
    assert [peer["subnets"] for peer in found["missing"]] == [["10.5.4.0/24"]]
    assert [peer["subnets"] for peer in found["extra"]] == [["10.5.2.0/24"]]
    assert [peer["public_ips"] for peer in found["differing"]] == [["192.0.2.33"]]
    assert (await inspected(Store(), served))["own"] == "absent"


async def test_what_is_refused_or_gone_is_remembered_and_not_missed() -> None:
    loopback = LeaseAttrs(ByFamily(IPAddress.parse("127.0.0.1")), "vxlan")
    served = feed(OWN, lease(2), lease(3))
    served.apply(LeaseSnapshot([OWN, replace(lease(3), attrs=loopback)], 2))
    found = await inspected(Store(OWN, replace(lease(3), attrs=loopback)), served)
    assert found["missing"] == []
    assert [entry["subnets"] for entry in found["refused"]] == [["10.5.3.0/24"]]
    assert [peer["public_ips"] for peer in found["gone"]] == [["192.0.2.2"]]


async def test_a_store_that_is_away_is_one_sentence() -> None:
    found = await inspected(Store(error=StoreUnavailable("no member answers")), feed(OWN))
    assert found["error"] == "no member answers"
    assert found["gone"] == []
