"""What has worked with an API server so far, which decides whether a failure may heal."""

import math
import time
from typing import Final

from flannel_sdk.errors import ConfigError, FlannelError, StoreUnavailable
from flannel_sdk_kube.credentials import Credentials
from flannel_sdk_kube.failures import CallFailed, Failure, Purpose, sentence

REFUSAL_SECONDS: Final = 5.0
"""That an API server may refuse a good user after its start, before it has read its roles."""

STARTING_SECONDS: Final = 60.0
"""After the first success, in which a lack of permission for something else is still final."""

_WRONG_PLACE: Final = frozenset({Failure.UNTRUSTED, Failure.WRONG_SCHEME, Failure.OTHER_SERVER})


class Outcomes:
    """Turns failures into errors: permanent where nothing of the kind has worked yet.

    Afterwards the same is a rotation, a restart or somebody's work in progress.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._worked: set[Purpose] = set()
        self._worked_since = math.inf
        self._refused_since: dict[Purpose, float] = {}
        self.heard_at: float | None = None
        """``time.monotonic()`` of the newest answer."""

    @property
    def has_worked(self) -> bool:
        """Whether any call has succeeded."""
        return bool(self._worked)

    def worked(self, purpose: Purpose) -> None:
        """A call succeeded."""
        self.heard()
        if not self._worked:
            self._worked_since = time.monotonic()
        self._worked.add(purpose)
        self._refused_since.pop(purpose, None)

    def heard(self) -> None:
        """The API server has told something just now."""
        self.heard_at = time.monotonic()

    def error(self, failed: CallFailed) -> FlannelError:
        """What to raise for ``failed``, which is to be chained."""
        source = self._credentials
        message = sentence(failed, source.server, source.called, source.trusts)
        if self._is_lasting(failed):
            key = "api_url" if failed.failure in _WRONG_PLACE else source.key
            return ConfigError(key, message)
        return StoreUnavailable(message)

    def _is_lasting(self, failed: CallFailed) -> bool:
        if failed.failure in _WRONG_PLACE:
            return not self._worked
        if failed.failure is Failure.UNAUTHENTICATED:
            return not self._worked and self._has_lasted(failed.purpose)
        if failed.failure is Failure.FORBIDDEN:
            is_new = failed.purpose not in self._worked and self._is_starting()
            return is_new and self._has_lasted(failed.purpose)
        return False

    def _is_starting(self) -> bool:
        return time.monotonic() - self._worked_since < STARTING_SECONDS

    def _has_lasted(self, purpose: Purpose) -> bool:
        now = time.monotonic()
        return now - self._refused_since.setdefault(purpose, now) >= REFUSAL_SECONDS
