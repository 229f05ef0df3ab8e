"""Names: as promised, and never those of another lab."""

from pathlib import Path

import pytest

from flannel_sdk.errors import ConfigError
from flannel_sdk.lab import LabNames


def test_the_default_lab_has_the_promised_names() -> None:
    names = LabNames()
    assert names.node(2) == "flannel-lab-2"
    assert names.pod(2) == "flannel-lab-2-pod"
    assert names.router == "flannel-lab-router"


@pytest.mark.parametrize("instance", ["", "a", "router", "pod", "b2"])
def test_a_lab_owns_its_own_names_only(instance: str) -> None:
    mine = LabNames(instance)
    others = [LabNames(other) for other in ("", "a", "router", "pod", "b2") if other != instance]
    for number in (1, 10):
        for name in (mine.node(number), mine.pod(number), mine.router):
            assert mine.owns(name)
            assert not any(other.owns(name) for other in others)


@pytest.mark.parametrize("instance", ["1", "a-b", "A", "x" * 17, "a/b", "a\n", ".."])
def test_names_that_could_be_mistaken_are_refused(instance: str) -> None:
    with pytest.raises(ConfigError):
        LabNames(instance)


def test_the_directory_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLANNEL_LAB_DIR", raising=False)
    assert LabNames("x").directory() == Path("/run/flannel-lab-x")
    monkeypatch.setenv("FLANNEL_LAB_DIR", "/some/where")
    assert LabNames("x").directory() == Path("/some/where")
