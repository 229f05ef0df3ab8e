"""Types of what ``schema`` loads: the fields, and the values of enumerations."""

from collections.abc import Sequence
from typing import ClassVar

from google.protobuf.message import Message

PUT: int
DELETE: int

class KeyValueMessage(Message):
    key: bytes
    create_revision: int
    mod_revision: int
    version: int
    value: bytes
    lease: int
    def __init__(
        self,
        *,
        key: bytes = ...,
        create_revision: int = ...,
        mod_revision: int = ...,
        version: int = ...,
        value: bytes = ...,
        lease: int = ...,
    ) -> None: ...

class EventMessage(Message):
    type: int
    @property
    def kv(self) -> KeyValueMessage: ...
    def __init__(self, *, type: int = ..., kv: KeyValueMessage | None = None) -> None: ...

class ResponseHeader(Message):
    cluster_id: int
    revision: int
    def __init__(self, *, cluster_id: int = ..., revision: int = ...) -> None: ...

class RangeRequest(Message):
    key: bytes
    range_end: bytes
    limit: int
    revision: int
    min_mod_revision: int
    def __init__(
        self,
        *,
        key: bytes = ...,
        range_end: bytes = ...,
        limit: int = ...,
        revision: int = ...,
        min_mod_revision: int = ...,
    ) -> None: ...

class RangeResponse(Message):
    @property
    def header(self) -> ResponseHeader: ...
    @property
    def kvs(self) -> Sequence[KeyValueMessage]: ...
    more: bool
    def __init__(
        self,
        *,
        header: ResponseHeader | None = None,
        kvs: Sequence[KeyValueMessage] = (),
        more: bool = ...,
    ) -> None: ...

class PutRequest(Message):
    key: bytes
    value: bytes
    lease: int
    def __init__(self, *, key: bytes = ..., value: bytes = ..., lease: int = ...) -> None: ...

class PutResponse(Message): ...

class DeleteRangeRequest(Message):
    key: bytes
    def __init__(self, *, key: bytes = ...) -> None: ...

class DeleteRangeResponse(Message): ...

class RequestOp(Message):
    @property
    def request_range(self) -> RangeRequest: ...
    @property
    def request_put(self) -> PutRequest: ...
    @property
    def request_delete_range(self) -> DeleteRangeRequest: ...
    def __init__(
        self,
        *,
        request_range: RangeRequest | None = None,
        request_put: PutRequest | None = None,
        request_delete_range: DeleteRangeRequest | None = None,
    ) -> None: ...

class ResponseOp(Message):
    @property
    def response_range(self) -> RangeResponse: ...
    @property
    def response_put(self) -> PutResponse: ...
    @property
    def response_delete_range(self) -> DeleteRangeResponse: ...
    def __init__(
        self,
        *,
        response_range: RangeResponse | None = None,
        response_put: PutResponse | None = None,
        response_delete_range: DeleteRangeResponse | None = None,
    ) -> None: ...

class Compare(Message):
    EQUAL: ClassVar[int]
    MOD: ClassVar[int]
    result: int
    target: int
    key: bytes
    mod_revision: int
    def __init__(
        self, *, result: int = ..., target: int = ..., key: bytes = ..., mod_revision: int = ...
    ) -> None: ...

class TxnRequest(Message):
    @property
    def compare(self) -> Sequence[Compare]: ...
    @property
    def success(self) -> Sequence[RequestOp]: ...
    @property
    def failure(self) -> Sequence[RequestOp]: ...
    def __init__(
        self,
        *,
        compare: Sequence[Compare] = (),
        success: Sequence[RequestOp] = (),
        failure: Sequence[RequestOp] = (),
    ) -> None: ...

class TxnResponse(Message):
    @property
    def header(self) -> ResponseHeader: ...
    succeeded: bool
    @property
    def responses(self) -> Sequence[ResponseOp]: ...
    def __init__(
        self,
        *,
        header: ResponseHeader | None = None,
        succeeded: bool = ...,
        responses: Sequence[ResponseOp] = (),
    ) -> None: ...

class LeaseGrantRequest(Message):
    TTL: int
    ID: int
    def __init__(self, *, TTL: int = ..., ID: int = ...) -> None: ...

class LeaseGrantResponse(Message):
    ID: int
    TTL: int
    error: str
    def __init__(self, *, ID: int = ..., TTL: int = ..., error: str = ...) -> None: ...

class LeaseRevokeRequest(Message):
    ID: int
    def __init__(self, *, ID: int = ...) -> None: ...

class LeaseRevokeResponse(Message): ...

class LeaseTimeToLiveRequest(Message):
    ID: int
    keys: bool
    def __init__(self, *, ID: int = ..., keys: bool = ...) -> None: ...

class LeaseTimeToLiveResponse(Message):
    TTL: int
    @property
    def keys(self) -> Sequence[bytes]: ...
    def __init__(self, *, TTL: int = ..., keys: Sequence[bytes] = ()) -> None: ...

class AuthenticateRequest(Message):
    name: str
    password: str
    def __init__(self, *, name: str = ..., password: str = ...) -> None: ...

class AuthenticateResponse(Message):
    token: str
    def __init__(self, *, token: str = ...) -> None: ...

class StatusRequest(Message): ...

class StatusResponse(Message):
    version: str
    def __init__(self, *, version: str = ...) -> None: ...

class WatchRequest(Message):
    @property
    def create_request(self) -> WatchCreateRequest: ...
    @property
    def progress_request(self) -> WatchProgressRequest: ...
    def __init__(
        self,
        *,
        create_request: WatchCreateRequest | None = None,
        progress_request: WatchProgressRequest | None = None,
    ) -> None: ...

class WatchCreateRequest(Message):
    key: bytes
    range_end: bytes
    start_revision: int
    progress_notify: bool
    def __init__(
        self,
        *,
        key: bytes = ...,
        range_end: bytes = ...,
        start_revision: int = ...,
        progress_notify: bool = ...,
    ) -> None: ...

class WatchProgressRequest(Message): ...

class WatchResponse(Message):
    @property
    def header(self) -> ResponseHeader: ...
    watch_id: int
    created: bool
    canceled: bool
    compact_revision: int
    cancel_reason: str
    fragment: bool
    @property
    def events(self) -> Sequence[EventMessage]: ...
    def __init__(
        self,
        *,
        header: ResponseHeader | None = None,
        watch_id: int = ...,
        created: bool = ...,
        canceled: bool = ...,
        compact_revision: int = ...,
        cancel_reason: str = ...,
        fragment: bool = ...,
        events: Sequence[EventMessage] = (),
    ) -> None: ...
