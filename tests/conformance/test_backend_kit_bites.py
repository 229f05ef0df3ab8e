"""The backend kit bites: each seeded fault is told by the requirement that is about it."""

import pytest

from flannel_sdk.testing import namespaces
from tests.conformance.faulty_backends import FAULTS, WITH_ROOT, Fault
from tests.conformance.judging import TESTS, verdict
from tests.conformance.small_backend import SmallPlugin

WITHOUT_ROOT = [requirement for requirement in TESTS if requirement[1] in "01"]
ON_A_KERNEL = [requirement for requirement in TESTS if requirement[1] in "23"]


@pytest.fixture
def rights() -> None:
    """Skips where no namespace can be made."""
    if (reason := namespaces.missing_right()) is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("requirement", WITHOUT_ROOT)
def test_the_control_is_right(requirement: str) -> None:
    if requirement == "B001":
        return
    assert verdict(SmallPlugin(), requirement) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: f"{fault.requirement}-{fault.part.__name__}"
)
def test_a_fault_is_told(fault: Fault) -> None:
    said = verdict(fault.plugin(), fault.requirement, patience=3.0)
    assert said is not None
    assert said.startswith(f"{fault.requirement} does not hold: ")
    assert fault.says in said


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("requirement", ON_A_KERNEL)
def test_the_control_is_right_on_a_kernel(requirement: str, rights: None) -> None:
    assert verdict(SmallPlugin(), requirement) is None


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", WITH_ROOT, ids=lambda fault: f"{fault.requirement}-{fault.part.__name__}"
)
def test_a_fault_is_told_on_a_kernel(fault: Fault, rights: None) -> None:
    test_a_fault_is_told(fault)


def test_every_requirement_has_a_fault_that_it_tells() -> None:
    told = {fault.requirement for fault in (*FAULTS, *WITH_ROOT)}
    assert sorted(TESTS.keys() - told) == []
