"""One node in a process of its own: ``worker.py PATH once|forever FIRST`` (run by the tests).

Waits for a line on standard input, then prints the key of each lease once it holds it.
"""

import asyncio
import sys
from itertools import count

from flannel_sdk.model import format_subnet_key
from flannel_sdk.stores.sqlite import SqliteOptions, plugin
from tests.stores.nodes import node


async def main(path: str, how: str, first: int) -> None:
    store = plugin.open(SqliteOptions(path))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in count(first):
        lease = await store.acquire_lease(node(number))
        print(format_subnet_key(lease.subnets), flush=True)
        if how == "once":
            break
        await store.renew_lease(lease)
    await store.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
