"""Answers and errors of HTTP as CallFailed."""

import json
import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from flannel_sdk_kube.failures import CallFailed, Failure

_BY_STATUS: Final = {
    401: Failure.UNAUTHENTICATED,
    403: Failure.FORBIDDEN,
    404: Failure.NOT_FOUND,
    408: Failure.OVERLOADED,
    410: Failure.EXPIRED,
    429: Failure.OVERLOADED,
}
_LONGEST_WAIT: Final = 60.0
_HTTP_TO_HTTPS: Final = "HTTP request to an HTTPS server"


def answered(status: int, body: bytes, retry_after: str | None) -> CallFailed:
    """For an answer that is no success, or not of the API's kind."""
    if status < 400:
        what = "a redirection" if status >= 300 else "and no JSON"
        return CallFailed(Failure.OTHER_SERVER, f"it answers {status}, {what}")
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        failed = told(document, status)
    else:
        failed = _without_status(status, body.decode("utf-8", "replace"))
    failed.retry_after = failed.retry_after or _seconds(retry_after)
    return failed


def told(status: Mapping[str, Any], code: object = None, *, in_stream: bool = False) -> CallFailed:
    """For a Status object, the API server's own way to say no."""
    code = code or status.get("code")
    code = code if isinstance(code, int) else 500
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    failure = _BY_STATUS.get(code, Failure.OVERLOADED if code >= 500 else Failure.REFUSED)
    if status.get("reason") in {"Expired", "Gone"} or _is_too_new(details):
        failure = Failure.EXPIRED
    return CallFailed(
        failure,
        f"{code} {status.get('reason') or ''}: {status.get('message') or 'no message'}",
        retry_after=_seconds(details.get("retryAfterSeconds")),
        in_stream=in_stream,
    )


def not_connected(error: Exception) -> CallFailed:
    """For what aiohttp raises instead of an answer."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return CallFailed(Failure.UNTRUSTED, _certificate(error.certificate_error))
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    for each in (cause, error):  # aiohttp's own lack what the causes tell
        if isinstance(each, ssl.SSLError):
            return _tls(each)
    return CallFailed(Failure.UNREACHABLE, _unreachable(error, cause))


def _unreachable(error: Exception, cause: BaseException | None) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"its name has no address ({cause})"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, aiohttp.ClientResponseError):  # whose text may have a proxy's password
        is_proxy = isinstance(error, aiohttp.ClientHttpProxyError)
        refused = f"the proxy refused: {error.status} {error.message}"
        return refused if is_proxy else "what it answers is no HTTP"
    if isinstance(error, ConnectionRefusedError) or isinstance(cause, ConnectionRefusedError):
        return "the connection was refused; is it running there?"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
    return text or type(error).__name__


def _without_status(status: int, text: str) -> CallFailed:
    if _HTTP_TO_HTTPS in text:
        return CallFailed(Failure.WRONG_SCHEME, "it speaks https there, and its URL says http")
    said = f"{status}: {text}" if text.isprintable() and "<" not in text else str(status)
    if status == 404:
        return CallFailed(Failure.OTHER_SERVER, f"it answers {said}")
    failure = Failure.OVERLOADED if status >= 500 else Failure.REFUSED
    return CallFailed(_BY_STATUS.get(status, failure), said)


def _is_too_new(details: Mapping[str, Any]) -> bool:
    """A server restored from a backup has not reached the revision that was asked for."""
    causes = details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge"
        for cause in causes
    )


def _tls(error: ssl.SSLError) -> CallFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return CallFailed(Failure.UNTRUSTED, _certificate(error))
    if getattr(error, "reason", None) in {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "RECORD_LAYER_FAILURE",
    }:
        return CallFailed(Failure.WRONG_SCHEME, "it speaks http there, and its URL says https")
    said = (getattr(error, "reason", None) or str(error)).replace("_", " ").lower()
    if "certificate" in said:
        return CallFailed(Failure.UNAUTHENTICATED, f"in the TLS handshake: {said}")
    return CallFailed(Failure.UNREACHABLE, f"the TLS handshake failed: {said}")


def _certificate(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid for it ({error.verify_message})"
    return f"its certificate is not valid for it ({error})"


def _seconds(value: object) -> float:
    """Of a Retry-After; 0 for none, or a date."""
    try:
        seconds = float(str(value))
    except ValueError:
        return 0.0
    return min(seconds, _LONGEST_WAIT) if seconds > 0 else 0.0
