"""Who may not, cannot or can no longer use the real server: one sentence that says what to fix."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from flannel_sdk_kube.client import KubeClient
from flannel_sdk_kube.options import KubeOptions

from flannel_sdk.errors import ConfigError, FlannelError, StoreUnavailable
from flannel_sdk.testing.waiting import eventually
from plugins.etcd.tests import servers
from plugins.etcd.tests.certificates import Authority
from plugins.kube.tests.api_control import Json
from plugins.kube.tests.apiserver import ApiServer
from plugins.kube.tests.kubeconfigs import WAYS, write_service_account

pytestmark = pytest.mark.server

NOBODY: Json = {
    "metadata": {"name": "nobody"},
    "subjects": [
        {"kind": "User", "name": "nobody", "apiGroup": "rbac.authorization.k8s.io"},
    ],
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "flannel",
    },
}
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[KubeOptions], KubeClient]]:
    """Makes clients, which are closed with the test."""
    async with AsyncExitStack() as stack:

        def one(options: KubeOptions) -> KubeClient:
            client = KubeClient(options)
            stack.push_async_callback(client.aclose)
            return client

        yield one


Connect = Callable[[KubeOptions], KubeClient]


def in_cluster(server: ApiServer, account: Path) -> KubeOptions:
    return KubeOptions(service_host="127.0.0.1", service_port=server.port, service_account=account)


async def first_of(client: KubeClient) -> None:
    async with aclosing(client.watch_nodes()) as items:
        await anext(items)


@pytest.mark.parametrize("how", WAYS)
async def test_each_kind_of_kubeconfig_is_let_in(
    how: str, apiserver: ApiServer, connect: Connect
) -> None:
    apiserver.control.add_node("a")
    client = connect(KubeOptions(kubeconfig=apiserver.kubeconfig(how=how)))
    found = await client.get_node("a")
    assert found is not None
    await first_of(client)
    assert await client.patch_node_status("a", {}) is not None


async def test_a_pod_finds_its_node(apiserver: ApiServer, connect: Connect) -> None:
    apiserver.control.add_pod("kube-flannel", "flannel-x1", "node-1")
    options = KubeOptions(
        service_host="127.0.0.1",
        service_port=apiserver.port,
        service_account=apiserver.service_account(),
        pod_name="flannel-x1",
        pod_namespace="kube-flannel",
    )
    try:
        assert await connect(options).node_name() == "node-1"
    finally:
        apiserver.control.ask(
            "DELETE", "/api/v1/namespaces/kube-flannel/pods/flannel-x1?gracePeriodSeconds=0"
        )


@pytest.mark.slow
async def test_a_revoked_token_is_read_again_from_its_file(
    apiserver: ApiServer, connect: Connect
) -> None:
    apiserver.control.add_node("a")
    account = apiserver.service_account(apiserver.new_token(bound_to="first"))
    client = connect(in_cluster(apiserver, account))
    assert await client.get_node("a") is not None
    old = apiserver.control.as_user((account / "token").read_text())
    write_service_account(account, apiserver.ca, apiserver.new_token(), "kube-flannel")
    apiserver.revoke("first")
    await eventually(lambda: old.call("GET", "/api/v1/nodes").status == 401, "revoked", 20)
    assert await client.get_node("a") is not None
    await first_of(client)


@pytest.mark.slow
async def test_a_token_that_stays_revoked_is_named_and_heals(
    apiserver: ApiServer, connect: Connect
) -> None:
    apiserver.control.add_node("a")
    account = apiserver.service_account(apiserver.new_token(bound_to="only"))
    client = connect(in_cluster(apiserver, account))
    assert await client.get_node("a") is not None
    old = apiserver.control.as_user((account / "token").read_text())
    apiserver.revoke("only")
    await eventually(lambda: old.call("GET", "/api/v1/nodes").status == 401, "revoked", 20)
    with pytest.raises(StoreUnavailable, match="does not accept") as caught:
        await client.get_node("a")
    assert str(account) in str(caught.value)
    assert (account / "token").read_text() not in str(caught.value)
    write_service_account(account, apiserver.ca, apiserver.new_token(), "kube-flannel")
    assert await client.get_node("a") is not None


@pytest.mark.slow
async def test_a_lack_of_permission_names_the_verb_and_the_resource(
    apiserver: ApiServer, connect: Connect
) -> None:
    client = connect(KubeOptions(kubeconfig=apiserver.kubeconfig("nobody")))
    lacks: dict[str, Callable[[], Awaitable[object]]] = {
        "list": lambda: first_of(client),
        "get": lambda: client.get_node("a"),
        "patch": lambda: client.patch_node_status("a", {}),
    }
    for verb, call in lacks.items():
        error = await _lasting(call)
        resource = "nodes/status" if verb == "patch" else "nodes"
        said = f"does not let user nobody (list|watch|{verb}) {resource}: bind a role"
        assert re.search(said, str(error)), error


async def test_a_role_bound_a_moment_later_is_in_time(
    apiserver: ApiServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(KubeOptions(kubeconfig=apiserver.kubeconfig("nobody")))
    waiting = asyncio.create_task(first_of(client))
    await eventually(lambda: caplog.records or waiting.done(), "refused once")
    assert "does not let user nobody" in caplog.text
    apiserver.control.ensure(BINDINGS, NOBODY)
    try:
        await asyncio.wait_for(waiting, 20)
    finally:
        apiserver.control.ask("DELETE", f"{BINDINGS}/nobody")


async def test_wrong_credentials_are_named(
    apiserver: ApiServer, wrong_authority: Authority, connect: Connect, tmp_path: Path
) -> None:
    config = apiserver.kubeconfig(ca=wrong_authority.ca)
    with pytest.raises(ConfigError, match="certificate is not valid for it") as caught:
        await connect(KubeOptions(kubeconfig=config)).get_node("a")
    assert str(config) in str(caught.value)
    account = tmp_path / "account"
    write_service_account(account, wrong_authority.ca, "x", "kube-flannel")
    with pytest.raises(ConfigError, match="certificate is not valid for it"):
        await connect(in_cluster(apiserver, account)).get_node("a")


@pytest.mark.slow
async def test_a_wrong_token_is_named(apiserver: ApiServer, connect: Connect) -> None:
    account = apiserver.service_account("not-a-token-of-this-cluster")
    client = connect(in_cluster(apiserver, account))
    error = await _lasting(lambda: client.get_node("a"))
    assert "does not accept" in str(error)
    assert "not-a-token" not in str(error)


@pytest.mark.slow
async def test_a_server_that_is_not_there_yet_is_waited_for(
    start_api: Callable[[], ApiServer], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_api()
    await asyncio.to_thread(server.control.add_node, "a")
    server.kill()
    client = connect(KubeOptions(kubeconfig=server.kubeconfig()))
    with pytest.raises(StoreUnavailable, match="the connection was refused; is it running there"):
        await client.get_node("a")
    waiting = asyncio.create_task(first_of(client))
    await eventually(lambda: caplog.records, "said")
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(waiting, 50)
    assert server.tokens["flannel"] not in caplog.text


async def test_an_address_without_a_server_is_named(
    connect: Connect, authority: Authority, tmp_path: Path
) -> None:
    claim = servers.claim_port()
    try:
        write_service_account(tmp_path, authority.ca, "x", "kube-flannel")
        options = KubeOptions(
            service_host="127.0.0.1", service_port=claim.number, service_account=tmp_path
        )
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{claim.number}"):
            await connect(options).get_node("a")
    finally:
        claim.held.close()


async def _lasting(call: Callable[[], Awaitable[object]]) -> FlannelError:
    """The ConfigError that a call fails with once the time for a mere start is over."""
    async with asyncio.timeout(20):
        while True:
            try:
                await call()
            except StoreUnavailable:
                await asyncio.sleep(0.5)
            except ConfigError as error:
                return error
            else:
                raise AssertionError("it was let in")
