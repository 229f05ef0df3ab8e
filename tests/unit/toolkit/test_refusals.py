"""Refused peers: counted as they are now, and each reason logged once and not without end."""

import logging

import pytest

from flannel_sdk.model import ByFamily, Prefix, Subnets
from flannel_sdk.toolkit.refusals import Refusals

LOGGER = logging.getLogger("backend")


def peer(number: int) -> Subnets:
    return ByFamily(Prefix.parse(f"10.5.{number}.0/24"), Prefix.parse(f"fc00:0:0:{number:x}::/64"))


def test_counts_by_reason_who_is_refused_now() -> None:
    refusals = Refusals(LOGGER)
    for number in (1, 2):
        refusals.add(peer(number), "no MAC")
    refusals.add(peer(3), "no MAC")
    refusals.add(peer(3), "no VNI")
    assert refusals.by_reason() == {"no MAC": 2, "no VNI": 1}
    refusals.forget([peer(1), peer(9)])
    assert refusals.by_reason() == {"no MAC": 1, "no VNI": 1}
    refusals.clear()
    assert refusals.by_reason() == {}


def test_a_reason_is_logged_once_with_all_subnets_of_the_first_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals(LOGGER)
    with caplog.at_level(logging.WARNING, "backend"):
        refusals.add(peer(1), "no MAC")
        refusals.add(peer(2), "no MAC")
        refusals.clear()
        refusals.add(peer(1), "no MAC")
    assert [record.getMessage() for record in caplog.records] == [
        "no traffic to 10.5.1.0/24, fc00:0:0:1::/64: no MAC"
    ]


def test_a_defect_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("VtepMAC")
    except KeyError as error:
        Refusals(LOGGER).add(peer(1), "a defect", error=error)
    assert "Traceback" in caplog.text
    assert "KeyError: 'VtepMAC'" in caplog.text


def test_ever_new_reasons_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(LOGGER)
    for number in range(250):
        refusals.add(peer(number), f"reason {number}")
    assert len(caplog.records) == 100
    assert len(refusals.by_reason()) == 250
