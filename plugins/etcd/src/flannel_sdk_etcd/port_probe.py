"""Finds out what a port speaks whose connections end at once: gRPC says only that they do."""

import asyncio
import ssl

from flannel_sdk_etcd.endpoints import Endpoint

_SECONDS = 1.0
# What an HTTP/2 client says first; a server answers with a frame of the same type, SETTINGS.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4


async def wrong_scheme(endpoint: Endpoint) -> str | None:
    """What to change in the endpoint; None if its scheme is right, or that cannot be seen."""
    try:
        async with asyncio.timeout(_SECONDS):
            if endpoint.secure:
                is_plain = await _speaks_plain_http2(endpoint)
                return "it does not speak TLS there: write http://" if is_plain else None
            return "it speaks TLS there: write https://" if await _speaks_tls(endpoint) else None
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def _speaks_tls(endpoint: Endpoint) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    except ssl.SSLError as error:
        return "ALERT" in str(error).upper()
    writer.transport.abort()
    return True


async def _speaks_plain_http2(endpoint: Endpoint) -> bool:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(_HTTP2_HELLO)
        header = await reader.readexactly(_FRAME_HEADER_BYTES)
        return header[3] == _SETTINGS
    finally:
        writer.transport.abort()
