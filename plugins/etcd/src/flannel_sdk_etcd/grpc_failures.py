"""What gRPC's errors mean: its codes, its words and etcd's own, as a Failure and a phrase."""

import re

from flannel_sdk_etcd.grpc_library import aio, grpc
from flannel_sdk_etcd.server_words import failure_in
from flannel_sdk_etcd.transport import CallFailed, Failure

_Code = grpc.StatusCode

_UNTRUSTED = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not of the CA that is trusted here, or ended",
    "not in peer certificate": "its certificate is for another name",
    "Hostname Verification Check failed": "its certificate is for another name",
    "ALERT_CERTIFICATE_REQUIRED": "it wants a client certificate",
    "CERTIFICATE": "it wants a client certificate that it trusts",
    "ALERT_UNKNOWN_CA": "it wants a client certificate that it trusts",
    "handshake failed": "the TLS handshake failed",
    # TLS 1.3: the handshake is over on this side when the server looks at the client's certificate
    "TSI_DATA_CORRUPTED": "it wants a client certificate that it trusts",
}
"""Words of gRPC and BoringSSL about an attempt to connect; the first that fits."""

ENDED_AT_ONCE = re.compile(r"closed|reset|Broken pipe|WRONG_VERSION_NUMBER", re.IGNORECASE)
"""Words about an attempt whose TCP connection stood; what is spoken there may be another thing."""

_CODES = {
    _Code.UNAUTHENTICATED: Failure.TOKEN_REFUSED,
    _Code.PERMISSION_DENIED: Failure.FORBIDDEN,
    _Code.INVALID_ARGUMENT: Failure.REFUSED,
    _Code.FAILED_PRECONDITION: Failure.REFUSED,
    _Code.NOT_FOUND: Failure.REFUSED,
    _Code.OUT_OF_RANGE: Failure.REFUSED,
    _Code.RESOURCE_EXHAUSTED: Failure.REFUSED,
    _Code.UNIMPLEMENTED: Failure.REFUSED,
    _Code.DATA_LOSS: Failure.REFUSED,
}
"""Without known words; each other code leaves open whether the request was carried out."""

# With the same code our own side refuses answers that are too large, to requests that were done.
_REFUSED_BY_SERVER = re.compile(r"etcdserver: |grpc: received message")
# gRPC says so of a call for which there was no connection to send it on.
_NEVER_SENT = re.compile(r"failed to connect to all addresses|(DNS|errors?) resol", re.IGNORECASE)
_UNRESOLVED = re.compile(r"(DNS|errors?) resol", re.IGNORECASE)
_PREAMBLE = re.compile(
    r"^.*last error: *(?:[A-Z_]+: )?(?:(?:ipv[46]|dns):\S+: )?|.*OPENSSL_internal:"
)


def failure_of_call(error: grpc.RpcError) -> CallFailed:
    """Of a request that had a connection when it was given to gRPC."""
    code, words = _said(error)
    if code is _Code.UNAVAILABLE and _NEVER_SENT.search(words):
        return failure_of_attempt(error)
    failure = failure_in(words)
    if failure is not None:
        return CallFailed(failure, words)
    if code is _Code.DEADLINE_EXCEEDED:
        return CallFailed(Failure.UNANSWERED, "no answer came in time")
    if code is _Code.RESOURCE_EXHAUSTED and not _REFUSED_BY_SERVER.match(words):
        return CallFailed(Failure.UNANSWERED, words or code.name)
    return CallFailed(_CODES.get(code, Failure.UNANSWERED), words or code.name)


def failure_of_attempt(error: grpc.RpcError) -> CallFailed:
    """Of an attempt to connect, which a call was told about."""
    _, words = _said(error)
    reason = _PREAMBLE.sub("", words).removesuffix(": OK")
    for known, meaning in _UNTRUSTED.items():
        if known in words:
            return CallFailed(Failure.UNTRUSTED, f"{meaning} ({reason})")
    if _UNRESOLVED.search(words):
        reason = f"its name cannot be resolved ({words.rpartition(': ')[2].rstrip(']')})"
    return CallFailed(Failure.NOT_CONNECTED, reason)


def _said(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    if not isinstance(error, aio.AioRpcError):
        return _Code.UNKNOWN, type(error).__name__
    return error.code(), " ".join((error.details() or "").split())
