"""One gRPC channel to one endpoint: its options, its target, and how it gets connected."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from flannel_sdk_etcd.credentials import Credentials
from flannel_sdk_etcd.endpoints import Endpoint
from flannel_sdk_etcd.grpc_endings import released
from flannel_sdk_etcd.grpc_failures import failure_of_call
from flannel_sdk_etcd.grpc_library import aio, grpc
from flannel_sdk_etcd.transport import CallFailed, Failure

ChannelOptions = Sequence[tuple[str, str | int]]

_READY = grpc.ChannelConnectivity.READY
_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
_ATTEMPT_SECONDS = 5
# Has no effect and needs no user: asked only to hear why an attempt to connect failed.
_HARMLESS = "/etcdserverpb.Maintenance/Status"
_OPTIONS: ChannelOptions = (
    # a response is as large as what it lists; etcd itself limits requests
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # notices a peer that is gone without a word; etcd refuses pings below 5 s or without calls
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # else a lost ping is waited for a minute
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # each attempt of ours is one attempt, now, with its own outcome
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", _ATTEMPT_SECONDS * 1000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # no request is sent twice behind our back
    ("grpc.enable_retries", 0),
    # nothing is taken from the environment or from DNS TXT records
    ("grpc.enable_http_proxy", 0),
    ("grpc.address_http_proxy_enabled_addresses", ""),
    ("grpc.service_config_disable_resolution", 1),
)


class Channel:
    """A gRPC channel, the credentials it was made with, and who uses it.

    It may be closed when another has taken its place and nothing uses it any more.
    """

    def __init__(self, endpoint: Endpoint, credentials: Credentials, more: ChannelOptions) -> None:
        self.credentials = credentials
        self.grpc = _opened(endpoint, credentials, (*_OPTIONS, *more))
        self._users = 0
        self._calls: set[aio.Call] = set()
        self._is_closed = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing uses it."""
        return self._users == 0

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands, as far as gRPC has noticed."""
        return not self._is_closed and self.grpc.get_state() is _READY

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt to connect failed: it is no use to wait for it."""
        return self._is_closed or self.grpc.get_state() in _FAILED

    @contextmanager
    def used(self, call: aio.Call | None = None) -> Iterator[None]:
        """Around waiting for it, or for a call of it."""
        self._users += 1
        if call is not None:
            self._calls.add(call)
        try:
            yield
        finally:
            self._users -= 1
            if call is not None:
                self._calls.discard(call)

    async def connect(self) -> None:
        """Return when a connection stands; CallFailed when the attempt failed, with its reason.

        By a call that needs the connection, and not by waiting for the channel's state: gRPC ends
        no such wait when its caller is cancelled, nor when the channel is closed.
        """
        if self.grpc.get_state(try_to_connect=True) is not _READY:
            await self._probe()

    async def aclose(self) -> None:
        """Break its calls off and close it; gRPC then holds nothing of it. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            calls = tuple(self._calls)
            for call in calls:  # gRPC's own close may miss some (1.66)
                call.cancel()
            await self.grpc.close()
            for call in calls:
                await released(call)

    async def _probe(self) -> None:
        """Any answer at all shows a connection."""
        probe: aio.UnaryUnaryMultiCallable[bytes, bytes] = self.grpc.unary_unary(_HARMLESS)
        try:
            await probe(b"", timeout=_ATTEMPT_SECONDS)
        except grpc.RpcError as error:
            failed = failure_of_call(error)
            try:
                if failed.failure in {Failure.NOT_CONNECTED, Failure.UNTRUSTED}:
                    raise failed from error
                if not self.is_connected:
                    raise CallFailed(Failure.NOT_CONNECTED, failed.detail) from error
            finally:
                del failed  # else it holds this frame, and a closed channel its connection
        except aio.UsageError as error:
            raise CallFailed(Failure.NOT_CONNECTED, "the connection was closed") from error


def _opened(endpoint: Endpoint, credentials: Credentials, options: ChannelOptions) -> aio.Channel:
    if credentials.grpc is None:
        return aio.insecure_channel(_target(endpoint), options=options)
    return aio.secure_channel(_target(endpoint), credentials.grpc, options=options)


def _target(endpoint: Endpoint) -> str:
    """In gRPC's form; the name that the server's certificate has to hold is taken from it."""
    try:
        version = ip_address(endpoint.host).version
    except ValueError:
        return f"dns:///{endpoint.authority}"
    return f"ipv{version}:{endpoint.authority}"
