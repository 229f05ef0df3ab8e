"""Random changes under random faults on real servers: what was told is what the server has."""

import asyncio
import random

import pytest

from flannel_sdk.backoff import Backoff
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests.proxy import OpenProxy, Proxy
from plugins.kube.tests.api_control import Refused
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.members import ADDRESS
from plugins.kube.tests.node_objects import node
from plugins.kube.tests.watching import Watched, watching

pytestmark = [pytest.mark.server, pytest.mark.slow]

NAMES = [f"n{number}" for number in range(12)]
STEPS = 300


class Faults:
    """What happens to the connections and the history meanwhile."""

    def __init__(self, server: ApiServer, proxy: Proxy, dice: random.Random) -> None:
        self._server = server
        self._proxy = proxy
        self._dice = dice

    async def happen(self) -> None:
        await self._dice.choice(
            [self._cut, self._refuse, self._silence, self._slow, self._forget, self._pause]
        )()

    async def _cut(self) -> None:
        self._proxy.cut()

    async def _refuse(self) -> None:
        self._proxy.refuse()

    async def _silence(self) -> None:
        self._proxy.silence()

    async def _slow(self) -> None:
        self._proxy.delay = 0.01

    async def _forget(self) -> None:
        self._proxy.cut()
        await asyncio.to_thread(self._server.compact)

    async def _pause(self) -> None:
        self._server.pause()
        await asyncio.sleep(0.05)
        self._server.resume()


def change(server: ApiServer, dice: random.Random) -> None:
    """One write, of whatever a node may go through."""
    name, control = dice.choice(NAMES), server.control
    address = f"192.0.2.{dice.randrange(256)}"
    try:
        match dice.randrange(5):
            case 0:
                control.create_node(node(name, "10.5.1.0/24", annotations={ADDRESS: address}))
            case 1:
                control.delete_node(name)
            case 2:
                control.delete_node(name)
                control.add_node(name, annotations={ADDRESS: address})
            case 3:
                control.heartbeat(name)
            case _:
                control.annotate(name, {ADDRESS: dice.choice([address, None])})
    except Refused as error:
        if error.status not in {404, 409}:  # it is there, or is not
            raise


def seen(server: ApiServer) -> dict[str, tuple[object, object]]:
    found = {}
    for one in server.control.nodes():
        metadata = one["metadata"]
        assert isinstance(metadata, dict)
        address = metadata.get("annotations", {}).get(ADDRESS)
        found[metadata["name"]] = (metadata["uid"], address)
    return found


def known(watched: Watched) -> dict[str, tuple[object, object]]:
    return {
        name: (entry.uid, entry.annotations.get(ADDRESS)) for name, entry in watched.nodes.items()
    }


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seed", [1, 2])
async def test_pages_and_watch_in_etcd(
    seed: int,
    nocache_apiserver: ApiServer,
    open_proxy: OpenProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await _survive(seed, nocache_apiserver, open_proxy, monkeypatch)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seed", [3, 4])
async def test_watch_list(
    seed: int, nodeapi: ApiServer, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _survive(seed, nodeapi, open_proxy, monkeypatch)


async def _survive(
    seed: int, server: ApiServer, open_proxy: OpenProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flannel_sdk_kube.node_api.SILENCE_SECONDS", 1.0)
    monkeypatch.setattr("flannel_sdk_kube.node_api._WATCH_SECONDS", (1, 3))
    monkeypatch.setattr(
        "flannel_sdk_kube.reflector.Backoff", lambda: Backoff(first=0.01, limit=0.2)
    )
    dice = random.Random(seed)
    proxy = await open_proxy(server.port)
    faults = Faults(server, proxy, dice)
    url = f"https://127.0.0.1:{proxy.port}"
    async with watching(server.kubeconfig(url=url), timeout=1.0) as (client, watched):
        for _ in range(STEPS):
            await asyncio.to_thread(change, server, dice)
            if dice.random() < 0.08:
                await faults.happen()
            elif dice.random() < 0.15:
                proxy.heal()
        proxy.heal()
        expected = await asyncio.to_thread(seen, server)
        what = f"{len(expected)} nodes as they are, with seed {seed}"
        await eventually(lambda: known(watched) == expected, what, 60)
        assert watched.snapshots == 1
        print(f"{len(client.counted.watches)} watches, {client.counted.pages} pages")
