"""An etcd that was put back to an older state while a watch was under way."""

import asyncio
import shutil

import pytest

from plugins.kube.tests.apiserver import ApiServer, StartApiServer
from plugins.kube.tests.watching import watching

pytestmark = [pytest.mark.server, pytest.mark.slow]

ADDRESS = "flannel.alpha.coreos.com/public-ip"


def _add(server: ApiServer, name: str) -> None:
    server.control.add_node(name, "10.0.1.0/24", annotations={ADDRESS: "192.0.2.1"})


async def test_a_cluster_restored_from_a_backup_is_listed_again(start_api: StartApiServer) -> None:
    """Its revisions are below ours, and a watch from ours would be told nothing for hours."""
    server = await asyncio.to_thread(start_api)
    etcd = server.etcd
    assert etcd is not None
    data = server.folder / "backup"
    await asyncio.to_thread(_add, server, "kept")

    def back_up() -> None:
        server.kill()
        etcd.member.stop()
        shutil.copytree(etcd.member.data, data)
        etcd.member.restart()
        server.start()
        server.wait_ready()
        _add(server, "lost")
        for number in range(300):
            server.control.annotate("lost", {ADDRESS: f"192.0.2.{number % 250}"})

    def restore() -> None:
        server.kill()
        etcd.member.kill()
        shutil.rmtree(etcd.member.data)
        shutil.copytree(data, etcd.member.data)
        etcd.member.restart()
        server.start()
        server.wait_ready()
        _add(server, "new")

    await asyncio.to_thread(back_up)
    async with watching(server.kubeconfig()) as (_, watched):
        await watched.until("kept", "lost")
        await asyncio.to_thread(restore)
        await watched.until("kept", "new")
        assert watched.snapshots == 1
