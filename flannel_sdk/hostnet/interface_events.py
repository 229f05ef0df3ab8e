"""Tells when links or addresses of a network namespace change, from the kernel's notifications."""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import closing, suppress

from flannel_sdk.netlink import constants as c
from flannel_sdk.netns import run_in_netns

_GROUPS = (c.RTNLGRP_LINK, c.RTNLGRP_IPV4_IFADDR, c.RTNLGRP_IPV6_IFADDR)
_SETTLE_SECONDS = 0.1
"""A change comes as several notifications: link up, address, address after duplicate detection."""
_CALM_SECONDS = 1.0
"""Between two looks: a node whose pods come and go has notifications all the time."""


async def interface_changes(
    netns: str | None = None, *, at_least_every: float | None = None
) -> AsyncGenerator[bool, None]:
    """Yield True whenever links or addresses may have changed, False else; never ends by itself.

    The first item comes at once.

    Routes are not listened to, for there may be one for each peer; ``at_least_every`` (seconds) is
    for who depends on them. Level-triggered: what comes between two reads is one item.
    """
    loop = asyncio.get_running_loop()
    with closing(run_in_netns(netns, _listener)) as listener:
        heard = False
        while True:
            _drain(listener)
            yield heard
            await asyncio.sleep(_CALM_SECONDS)
            heard = False
            with suppress(TimeoutError):
                async with asyncio.timeout(at_least_every):
                    await _readable(loop, listener)
                    heard = True
            await asyncio.sleep(_SETTLE_SECONDS)


def _listener() -> socket.socket:
    listener = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
    )
    try:
        listener.bind((0, 0))
        for group in _GROUPS:
            listener.setsockopt(c.SOL_NETLINK, c.NETLINK_ADD_MEMBERSHIP, group)
    except OSError:
        listener.close()
        raise
    return listener


async def _readable(loop: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(listener, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(listener)


def _drain(listener: socket.socket) -> None:
    """What the notifications say is not read: the state is, whole."""
    while True:
        try:
            listener.recv(1)  # the rest of the datagram goes with it
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # some were lost, which one look makes good
                raise
