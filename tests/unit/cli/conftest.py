"""What the tests of the daemon's command line need."""

import gc
import logging
from collections.abc import Iterator

import pytest

from flannel_sdk.cli import daemon
from tests.unit.cli.standin import StandInAgent


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StandInAgent]]:
    """The daemon tunes logging and the collector of its process: put back."""

    class Agent(StandInAgent):
        pass

    monkeypatch.setattr(daemon, "NodeAgent", Agent)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    threshold = gc.get_threshold()
    yield Agent
    gc.set_threshold(*threshold)
    gc.unfreeze()
