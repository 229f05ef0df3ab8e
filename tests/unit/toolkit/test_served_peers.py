"""An update without the peers that are refused: they count as gone."""

import logging

from flannel_sdk.model import ByFamily, IPAddress, Lease, LeaseAttrs, PeerUpdate, Prefix
from flannel_sdk.toolkit.refusals import Refusals


def lease(number: int) -> Lease:
    address = ByFamily(IPAddress.parse(f"192.0.2.{number}"))
    return Lease(ByFamily(Prefix.parse(f"10.5.{number}.0/24")), LeaseAttrs(address))


ONE, TWO, THREE = lease(1), lease(2), lease(3)


def refusing(*refused: Lease) -> Refusals:
    refusals = Refusals(logging.getLogger("test"))
    for one in refused:
        refusals.add(one.subnets, "it is odd")
    return refusals


def test_without_refusals_it_is_the_same_update() -> None:
    update = PeerUpdate(False, [ONE], [TWO.subnets])
    assert refusing().split(update) is update


def test_who_is_refused_is_gone() -> None:
    update = PeerUpdate(False, [ONE, TWO], [THREE.subnets])
    assert refusing(TWO).split(update) == PeerUpdate(False, [ONE], [THREE.subnets, TWO.subnets])


def test_a_full_update_removes_nobody_by_name() -> None:
    assert refusing(TWO).split(PeerUpdate(True, [ONE, TWO])) == PeerUpdate(True, [ONE])
