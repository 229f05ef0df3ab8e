"""What the client needs of a transport: calls and streams to one endpoint, and how they fail.

``grpc_transport`` is the one there is. Nothing above this file knows grpc.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from enum import Enum
from typing import Protocol

from google.protobuf.message import Message

from flannel_sdk.errors import FlannelError
from flannel_sdk_etcd.endpoints import Endpoint


class Method(Enum):
    """The calls that are used; the value is the gRPC path."""

    RANGE = "/etcdserverpb.KV/Range"
    TXN = "/etcdserverpb.KV/Txn"
    LEASE_GRANT = "/etcdserverpb.Lease/LeaseGrant"
    LEASE_REVOKE = "/etcdserverpb.Lease/LeaseRevoke"
    LEASE_TIME_TO_LIVE = "/etcdserverpb.Lease/LeaseTimeToLive"
    AUTHENTICATE = "/etcdserverpb.Auth/Authenticate"
    STATUS = "/etcdserverpb.Maintenance/Status"
    WATCH = "/etcdserverpb.Watch/Watch"


class Failure(Enum):
    """Why a call failed, as far as somebody does something different because of it."""

    NOT_CONNECTED = "not connected"
    """No connection was made: the request was certainly not sent."""
    UNTRUSTED = "untrusted"
    """No connection was made, since TLS failed on either side's certificate; not sent either."""
    UNANSWERED = "unanswered"
    """The connection or the time ended, or the server gave up: the outcome is not known."""
    TOKEN_REFUSED = "token refused"
    """The auth token is missing, old or unknown: authenticate and ask again; nothing was done."""
    WRONG_PASSWORD = "wrong password"
    """Authentication itself was refused."""
    FORBIDDEN = "forbidden"
    """The user lacks the right; nothing was done."""
    NO_LEADER = "no leader"
    """The member that was asked sees no leader; nothing was done, another member may see one."""
    NO_SPACE = "no space"
    """etcd's database is full and it takes no writes; the one that filled it was done, however."""
    COMPACTED = "compacted"
    """The revision asked for is gone."""
    NOT_FOUND = "not found"
    """The etcd lease does not exist (any more); nothing was done."""
    REFUSED = "refused"
    """Any other definite answer of the server; nothing was done."""


class CallFailed(FlannelError):
    """A call to one endpoint failed; never leaves the client, which makes a sentence of it."""

    def __init__(self, failure: Failure, detail: str) -> None:
        """``detail``: the transport's or the server's own words, in one line."""
        super().__init__(detail)
        self.failure = failure
        self.detail = detail


class Connection(Protocol):
    """One endpoint: connects when first used and again whenever the connection broke."""

    endpoint: Endpoint

    async def connect(self, timeout: float) -> None:
        """Return once a connection stands, at once where it does.

        CallFailed (NOT_CONNECTED, UNTRUSTED) as soon as an attempt failed, with its reason; it
        does not wait for the transport's own next attempt.
        """
        ...

    async def call(
        self, method: Method, request: Message, *, token: str | None, timeout: float
    ) -> Message:
        """The response to one request, of any size; CallFailed.

        NOT_CONNECTED is raised only if the request certainly did not leave: where that is not
        sure it is UNANSWERED. Cancelling ends the call; its outcome is then unknown.
        """
        ...

    def stream(
        self, method: Method, requests: AsyncIterator[Message], *, token: str | None
    ) -> AsyncGenerator[Message, None]:
        """The responses of a two-way stream, until closed; CallFailed when it breaks.

        Closing it ends the stream at once. A stream wants a leader (metadata ``hasleader``).
        """
        ...

    async def aclose(self) -> None:
        """End the connection, its calls and its streams. Idempotent."""
        ...


class Transport(Protocol):
    """Makes connections; holds what they share (credentials)."""

    def connection(self, endpoint: Endpoint) -> Connection:
        """A connection to ``endpoint``, without I/O."""
        ...
