"""Waits for a lab's store and puts its network config, as a program inside a namespace.

``python -m flannel_sdk.lab.store_inside`` reads a JSON object from standard input with the members
``store``, ``options``, ``document`` (null: only wait until the store answers) and ``seconds``.
"""

import asyncio
import json
import sys
from collections.abc import Mapping

from flannel_sdk.agent.installed_store import open_store
from flannel_sdk.backoff import Backoff
from flannel_sdk.errors import ConfigError, ConfigMissing, FlannelError, RetryableError
from flannel_sdk.interfaces import SubnetManager, SupportsConfigWrite


async def reach_store(
    store: str, options: Mapping[str, str], document: str | None, seconds: float
) -> None:
    """Put ``document``, or where it is None return once the store answers.

    What can heal is tried again for ``seconds`` and then raised; ConfigError where the config or
    an option is wrong, or the store takes no config.
    """
    manager = open_store(store, options)
    backoff = Backoff(first=0.05, limit=0.5)
    try:
        end = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                return await _try_once(manager, store, document)
            except RetryableError:
                delay = backoff.next_delay()
                if asyncio.get_running_loop().time() + delay > end:
                    raise
                await asyncio.sleep(delay)
    finally:
        await manager.aclose()


async def _try_once(manager: SubnetManager, store: str, document: str | None) -> None:
    if document is None:
        try:
            await manager.get_network_config()
        except ConfigMissing:
            return
    elif isinstance(manager, SupportsConfigWrite):
        await manager.put_network_config(document)
    else:
        raise ConfigError("store", f"the store {store} takes no config from us")


def _main() -> int:
    wanted = json.load(sys.stdin)
    try:
        asyncio.run(reach_store(**wanted))
    except FlannelError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
