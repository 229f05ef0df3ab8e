"""The backend kit bites: each seeded fault is told by the requirement that is about it."""

import pytest

from tests.conformance.faulty_backends import FAULTS, Fault
from tests.conformance.judging import TESTS, verdict
from tests.conformance.small_backend import SmallPlugin

WITHOUT_ROOT = [requirement for requirement in TESTS if requirement[1] in "01"]


@pytest.mark.parametrize("requirement", WITHOUT_ROOT)
def test_the_control_is_right(requirement: str) -> None:
    if requirement == "B001":
        return
    assert verdict(SmallPlugin(), requirement) is None


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault.requirement}-{fault.part.__name__}"
)
def test_a_fault_is_told(fault: Fault) -> None:
    said = verdict(fault.plugin(), fault.requirement)
    assert said is not None
    assert said.startswith(f"{fault.requirement} does not hold: ")
    assert fault.says in said


def test_every_requirement_has_a_fault_that_it_tells() -> None:
    told = {fault.requirement for fault in FAULTS}
    assert sorted(set(WITHOUT_ROOT) - told) == []
