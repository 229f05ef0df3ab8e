"""Scripted API servers with TLS, and what their clients are given."""

import ssl
from pathlib import Path

from flannel_sdk_kube import KubeOptions
from flannel_sdk_kube.client import KubeClient

from plugins.etcd.tests.certificates import Authority, ServerFiles
from plugins.kube.tests.client.scripted_api import Answer, ScriptedApi, a_node, document, refuse
from plugins.kube.tests.kubeconfigs import Access, write_kubeconfig, write_service_account

OK = document(a_node("a", 1))
UNAUTHORIZED = refuse(401, "Unauthorized", "Unauthorized")


def server_tls(files: ServerFiles, clients: Path | None = None) -> ssl.SSLContext:
    """What a server is run with; ``clients``: the CA that its clients have to be of."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def secure_api(authority: Authority, *answers: Answer, label: str = "server") -> ScriptedApi:
    return ScriptedApi(*answers, tls=server_tls(authority.server(label=label)))


def pod_client(
    api: ScriptedApi, folder: Path, timeout: float = 5.0, *, port: int | None = None
) -> KubeClient:
    """A client inside the cluster, with a service account in ``folder``.

    ``port``: of a proxy before the server.
    """
    return KubeClient(
        KubeOptions(
            service_host="127.0.0.1",
            service_port=port or api.port,
            service_account=folder,
            timeout=timeout,
        )
    )


def write_account(folder: Path, authority: Authority, token: str) -> Path:
    write_service_account(folder, authority.ca, token, "kube-flannel")
    return folder


def write_config(
    folder: Path,
    url: str,
    authority: Authority,
    how: str = "token",
    *,
    token: str = "t1",
    trusted: Authority | None = None,
) -> Path:
    folder.mkdir(exist_ok=True)
    client = authority.client("jane", label="jane")
    assert client.cert is not None
    assert client.key is not None
    access = Access(url, (trusted or authority).ca, token, client.cert, client.key)
    return write_kubeconfig(folder, access, how)


def tokens(api: ScriptedApi) -> list[str | None]:
    """What the requests showed, without the scheme."""
    shown = (asked.headers.get("Authorization") for asked in api.asked)
    return [header and header.removeprefix("Bearer ") for header in shown]
