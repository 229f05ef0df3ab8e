"""Why a call to the API server failed, and what to tell people: one sentence."""

import re
from enum import Enum, auto
from typing import Final, NamedTuple

_LONGEST_DETAIL: Final = 400
_USER = re.compile(r'User "([^"]+)"')


class Failure(Enum):
    """What to do about it differs by these."""

    UNREACHABLE = auto()
    """No connection, or no answer."""
    UNTRUSTED = auto()
    """TLS could not be agreed on: mostly another CA or another name."""
    WRONG_SCHEME = auto()
    """http where https is spoken, or the other way round."""
    OTHER_SERVER = auto()
    """It answers, but it is no API server."""
    NO_CREDENTIALS = auto()
    """What makes the credentials did not."""
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    EXPIRED = auto()
    """410: the history that was asked for is gone."""
    REFUSED = auto()
    """By its content (400, 409, 422, ..)."""
    OVERLOADED = auto()
    """429 and 5xx."""
    SILENT = auto()
    """A stream told nothing for so long that its server may be gone."""
    BROKEN = auto()
    """The answer was cut off, or is no answer to the question."""
    CLOSED = auto()
    """The client was closed."""


class Purpose(NamedTuple):
    """What a call does, in RBAC's words."""

    verb: str
    resource: str


class CallFailed(Exception):
    """A call that did not succeed; never leaves the client."""

    def __init__(
        self,
        failure: Failure,
        detail: str = "",
        *,
        retry_after: float = 0.0,
        in_stream: bool = False,
    ) -> None:
        super().__init__(f"{failure.name}: {detail}")
        self.failure = failure
        self.detail = " ".join(detail.split())[:_LONGEST_DETAIL].rstrip(".")
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""
        self.in_stream = in_stream
        """Whether it was told within an answer that began well."""
        self.purpose = Purpose("use", "the API")


_PREDICATES: Final = {
    Failure.UNREACHABLE: "cannot be reached: {detail}",
    Failure.UNTRUSTED: "cannot be trusted: {detail}; the CA to trust is {trusts}",
    Failure.WRONG_SCHEME: "cannot be used: {detail}",
    Failure.OTHER_SERVER: "is no Kubernetes API server: {detail}",
    Failure.NO_CREDENTIALS: "cannot be asked: {detail}",
    Failure.UNAUTHENTICATED: "does not accept {credentials}: give valid ones ({detail})",
    Failure.FORBIDDEN: "does not let {user} {verb} {resource}: bind a role with the verb {verb!r}"
    " on the resource {resource!r} to it ({detail})",
    Failure.NOT_FOUND: "has no such object: {detail}",
    Failure.EXPIRED: "does not have the history any more: {detail}",
    Failure.REFUSED: "refused to {verb} {resource}: {detail}",
    Failure.OVERLOADED: "cannot {verb} {resource} now: {detail}",
    Failure.SILENT: "stopped answering: {detail}",
    Failure.BROKEN: "broke off while it should {verb} {resource}: {detail}",
    Failure.CLOSED: "is not asked any more: this client is closed",
}


def sentence(failed: CallFailed, server: str, credentials: str, trusts: str) -> str:
    """What went wrong, for people; the texts are those of ``Credentials``."""
    found = _USER.search(failed.detail)
    predicate = _PREDICATES[failed.failure].format(
        detail=failed.detail or "no reason given",
        credentials=credentials,
        trusts=trusts,
        user=f"user {found[1]}" if found else credentials,
        verb=failed.purpose.verb,
        resource=failed.purpose.resource,
    )
    return f"The API server {server} {predicate}."
