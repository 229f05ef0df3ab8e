"""Makes of failed calls the error for people: one sentence, and its class."""

from collections.abc import Mapping

from flannel_sdk.errors import ConfigError, FlannelError, StoreCorrupt, StoreUnavailable
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.transport import CallFailed, Failure

Failures = Mapping[Endpoint, CallFailed]
"""What each endpoint that was asked answered last."""

_KEYS = {
    Failure.UNTRUSTED: "endpoints",
    Failure.WRONG_PASSWORD: "password",
    Failure.FORBIDDEN: "user",
}
"""The option to look at where somebody has to change something."""

_PREDICATES = {
    Failure.NOT_CONNECTED: "cannot be reached: {detail}",
    Failure.UNTRUSTED: "cannot be used: {detail}",
    Failure.UNANSWERED: "did not answer: {detail}",
    Failure.TOKEN_REFUSED: "refused the token that it gave to user {user!r} just now ({detail})",
    Failure.WRONG_PASSWORD: "does not take this password for user {user!r} ({detail})",
    Failure.FORBIDDEN: "does not let user {user!r} do this: grant a role with the right ({detail})",
    Failure.NO_LEADER: "sees no leader: most members are down or cut off ({detail})",
    Failure.NO_SPACE: "is full and takes no writes: compact it, defragment it and disarm its alarm"
    " ({detail})",
}
_WITHOUT_USER = {
    Failure.TOKEN_REFUSED: "serves known users only: give a user and a password ({detail})",
    Failure.FORBIDDEN: "does not let a client without a user do this ({detail})",
}


def store_error(failures: Failures, user: str | None, *, has_worked: bool) -> FlannelError:
    """What to raise where no endpoint did it; the first failure is to be chained.

    A PermanentError only where each endpoint says what trying again will not change, and nothing
    has worked before: later the same may be a rotation of passwords or certificates in progress.
    """
    message = sentence(failures, user)
    if has_worked:
        return StoreUnavailable(message)
    kinds = [_permanent(failure, user) for failure in failures.values()]
    if not kinds or None in kinds:
        return StoreUnavailable(message)
    if all(kind == "" for kind in kinds):
        return StoreCorrupt(message)
    return ConfigError(next(kind for kind in kinds if kind), message)


def sentence(failures: Failures, user: str | None) -> str:
    """What went wrong, endpoints that say the same together."""
    saying: dict[str, list[Endpoint]] = {}
    for endpoint, failure in failures.items():
        saying.setdefault(_predicate(failure, user), []).append(endpoint)
    return (
        "; ".join(
            f"etcd at {' and '.join(map(str, endpoints))} {predicate}"
            for predicate, endpoints in saying.items()
        )
        + "."
    )


def _permanent(error: CallFailed, user: str | None) -> str | None:
    """The option that is wrong, "" where it is etcd's data; None for what may heal."""
    if error.failure is Failure.TOKEN_REFUSED and user is None:
        return "user"
    if error.failure is Failure.REFUSED and "corrupt" in error.detail:
        return ""
    return _KEYS.get(error.failure)


def _predicate(error: CallFailed, user: str | None) -> str:
    if error.failure is Failure.NOT_CONNECTED and "refused" in error.detail.lower():
        return f"refused the connection: is it running there? ({error.detail})"
    phrase = _WITHOUT_USER.get(error.failure) if user is None else None
    phrase = phrase or _PREDICATES.get(error.failure, "refused the request: {detail}")
    return phrase.format(detail=error.detail, user=user)
