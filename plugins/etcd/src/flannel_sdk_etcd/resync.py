"""Reading a state and following its changes, for ever: what all watches of the store stand on."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from flannel_sdk.backoff import Backoff, Trouble
from flannel_sdk.errors import PermanentError, StoreUnavailable
from flannel_sdk_etcd.clock import loop_time
from flannel_sdk_etcd.errors import Compacted
from flannel_sdk_etcd.records import WatchBatch

T = TypeVar("T")
_log = logging.getLogger(__name__)

CALM_SECONDS = 30.0
"""Changes that are lost again sooner than this are read again only after a pause."""

_LOST_AGAIN = StoreUnavailable("its history was compacted again before it was followed")


async def read_and_follow(
    doing: str,
    read: Callable[[], Awaitable[tuple[T, int]]],
    watch: Callable[[int], AsyncGenerator[WatchBatch, None]],
) -> AsyncGenerator[T | WatchBatch, None]:
    """What ``read`` gives, then each batch of changes since; read again where these are lost.

    ``read`` gives a state and its revision, ``watch`` the changes from a revision on. ``doing`` is
    a phrase for the log. A PermanentError before the first state is raised; all else is waited out.
    """
    reading = Trouble(_log, doing, Backoff(0.1, 5.0))
    following = Trouble(_log, doing, Backoff(0.1, 5.0))
    losing = Trouble(_log, doing, Backoff(0.1, 5.0))
    lost_at = -CALM_SECONDS
    has_read = False
    while True:
        try:
            state, revision = await read()
        except Exception as error:
            if isinstance(error, PermanentError) and not has_read:
                raise
            await reading.wait_out(error)
            continue
        reading.over()
        has_read = True
        yield state
        try:
            async with aclosing(watch(revision + 1)) as batches:
                async for batch in batches:
                    following.over()
                    if loop_time() - lost_at >= CALM_SECONDS:
                        losing.over()
                    yield batch
            raise StoreUnavailable("the watch ended")
        except Compacted as error:
            if loop_time() - lost_at >= CALM_SECONDS:
                losing.backoff.reset()
                _log.info("%s: %s; reading all again", doing, error)
            else:
                await losing.wait_out(_LOST_AGAIN)
            lost_at = loop_time()
        except Exception as error:
            await following.wait_out(error)
