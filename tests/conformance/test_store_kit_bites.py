"""The store kit bites: each seeded fault is told by the requirement that is about it."""

import inspect
from collections.abc import Mapping

import pytest

from flannel_sdk.testing import SubnetManagerConformance
from flannel_sdk.testing.kit.requirements import requirement_of
from flannel_sdk.testing.store_kit import bench, ending, watched
from flannel_sdk.testing.store_kit.bench import StoreSite
from flannel_sdk.testing.store_kit.subject import StoreSubject
from tests.conformance.faulty_stores import FAULTS, Fault
from tests.conformance.small_store import SmallPlugin, small_harness

assert SubnetManagerConformance.kit is not None
TESTS = {
    stated.id: test
    for test in SubnetManagerConformance.kit.tests.values()
    if (stated := requirement_of(test)) is not None
}


@pytest.fixture
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fault:
    """One of them; what a store in memory has not told in a moment it never tells."""
    found = request.param
    assert isinstance(found, Fault)
    patience = 1.5 if found.requirement in {"S123", "S124"} else 0.6
    for module in (bench, watched):
        monkeypatch.setattr(module, "PATIENCE", patience)
    for module in (bench, ending):
        monkeypatch.setattr(module, "LINGER", 0.3)
    return found


def verdict(plugin: SmallPlugin, requirement_id: str) -> str | None:
    """What the kit says is wrong; None if the requirement is held."""
    benches: Mapping[str, object] = {
        "subject": StoreSubject("small", plugin),
        "site": StoreSite(lambda: small_harness(plugin), {}, ""),
    }
    test = TESTS[requirement_id]
    wanted = [name for name in inspect.signature(test).parameters if name in benches]
    try:
        test(SubnetManagerConformance(), *(benches[name] for name in wanted))
    except pytest.fail.Exception as failure:
        return str(failure)
    return None


@pytest.mark.parametrize("requirement", TESTS)
def test_the_control_is_right(requirement: str) -> None:
    assert verdict(SmallPlugin(), requirement) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda one: f"{one.requirement}-{one.part.__name__}", indirect=True
)
def test_a_fault_is_told(fault: Fault) -> None:
    said = verdict(fault.plugin(), fault.requirement)
    assert said is not None
    assert said.startswith(f"{fault.requirement} does not hold: ")
    assert fault.says in said


def test_every_requirement_has_a_fault_that_it_tells() -> None:
    assert sorted(TESTS.keys() - {fault.requirement for fault in FAULTS}) == []
