"""Many nodes, each a process of its own: ``worker.py PREFIX COUNT URL..`` (run by the tests).

All are forked before any of them has a connection. Each prints ``ready`` when it has read the
configuration, waits until standard input ends, acquires, and prints its number, its key and how
many seconds that took; or its number and the error.
"""

import asyncio
import os
import sys
import time

import flannel_sdk_etcd.client
import flannel_sdk_etcd.grpc_transport  # what each node would load is loaded once
import flannel_sdk_etcd.watch  # noqa: F401
from flannel_sdk_etcd import EtcdOptions, EtcdSubnetManager

from flannel_sdk.model import format_subnet_key
from plugins.etcd.tests.nodes import node


def say(*words: object) -> None:
    """One write: lines of several processes do not mix."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def line_up() -> None:
    """Return when standard input ends."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, ended.set)
    await ended.wait()
    loop.remove_reader(0)


async def be_a_node(number: int, options: EtcdOptions) -> None:
    async with EtcdSubnetManager(options) as store:
        await store.get_network_config()
        say("ready")
        await line_up()
        began = time.monotonic()
        lease = await store.acquire_lease(node(number))
        say(number, format_subnet_key(lease.subnets), time.monotonic() - began)


def main(prefix: str, count: str, *urls: str) -> int:
    options = EtcdOptions(endpoints=urls, prefix=prefix, timeout=60.0)
    children = []
    for number in range(int(count)):
        child = os.fork()
        if not child:
            try:
                asyncio.run(be_a_node(number, options))
            except BaseException as error:
                say(number, repr(error))
                os._exit(1)
            os._exit(0)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
