"""Networks of the toolkit on a kernel that only remembers."""

import pytest

from tests.unit.toolkit.recording import RecordingSessions


@pytest.fixture
async def sessions(monkeypatch: pytest.MonkeyPatch) -> RecordingSessions:
    made = RecordingSessions()
    monkeypatch.setattr("flannel_sdk.toolkit.network.open_kernel", made.open)
    return made
