"""What all tests of the agent need."""

import pytest

from flannel_sdk.agent import InterfaceRequest
from flannel_sdk.model import ExternalInterface
from tests.unit.agent.recording import PUBLIC


@pytest.fixture(autouse=True)
def underlay(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interface for machines that have none; the real choice is tested in hostnet."""

    def find(request: InterfaceRequest, *_: object) -> ExternalInterface:
        return ExternalInterface(request.interfaces[0], 1, 1500, PUBLIC, PUBLIC)

    monkeypatch.setattr("flannel_sdk.agent.underlay.find_external_interface", find)
