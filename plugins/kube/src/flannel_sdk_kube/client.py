"""KubeClient: nodes of a cluster, read, watched and patched through its API server."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager

from flannel_sdk.closing import Closing
from flannel_sdk.errors import ConfigError, StoreUnavailable
from flannel_sdk_kube.api import ApiClient
from flannel_sdk_kube.credentials import Credentials
from flannel_sdk_kube.failures import CallFailed, Failure
from flannel_sdk_kube.in_cluster import ServiceAccount
from flannel_sdk_kube.kubeconfig import Kubeconfig
from flannel_sdk_kube.node_api import NodeApi
from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.options import KubeOptions
from flannel_sdk_kube.plain_url import PlainUrl
from flannel_sdk_kube.reflector import Reflector


class KubeClient:
    """NodeClient over HTTP. It belongs to the event loop that it is first used in."""

    def __init__(self, options: KubeOptions) -> None:
        """No I/O; ConfigError if the options name no API server."""
        credentials = _credentials(options)
        self.name = f"kube:{credentials.place}"
        self._options = options
        self._api = ApiClient(credentials, options.timeout)
        self._nodes = NodeApi(self._api, options.annotation_stem)
        self._closing = Closing()

    async def node_name(self) -> str:
        """See NodeClient."""
        options = self._options
        if options.node_name is not None:
            return options.node_name
        pod, namespace = options.pod_name, options.pod_namespace
        if pod is None or namespace is None:
            raise ConfigError(
                "node_name",
                "node_name is not given, nor are pod_name and pod_namespace to ask for it by: set"
                " NODE_NAME in the pod's environment from spec.nodeName.",
            )
        called = f"pod {namespace}/{pod}"
        try:
            with self._errors():
                name = await self._nodes.node_of_pod(namespace, pod)
        except _NotFound as error:
            raise ConfigError("pod_name", f"There is no {called} in {self.name}.") from error
        if not name:
            raise StoreUnavailable(f"The {called} is not on a node yet.")
        return name

    async def get_node(self, name: str) -> NodeEntry | None:
        """See NodeClient."""
        try:
            with self._errors():
                return await self._nodes.get(name)
        except _NotFound:
            return None

    async def patch_node_status(self, name: str, body: Mapping[str, object]) -> NodeEntry | None:
        """See NodeClient."""
        try:
            with self._errors():
                return await self._nodes.patch_status(name, body)
        except _NotFound:
            return None

    def watch_nodes(self) -> AsyncGenerator[NodeSnapshot | NodeDelta, None]:
        """See NodeClient."""
        return self._closing.until_closed(self._reflect(None))

    def watch_node(self, name: str) -> AsyncGenerator[NodeEntry | None, None]:
        """See NodeClient."""
        return self._closing.until_closed(_newest(self._reflect(f"metadata.name={name}")))

    def last_heard(self) -> float | None:
        """See NodeClient."""
        return self._api.outcomes.heard_at

    async def aclose(self) -> None:
        """See NodeClient."""
        self._closing.close()
        await self._api.aclose()

    def _reflect(self, selector: str | None) -> AsyncGenerator[NodeSnapshot | NodeDelta, None]:
        return Reflector(self._nodes, selector, self._api.outcomes.error).items()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except CallFailed as failed:
            if failed.failure is Failure.NOT_FOUND:
                raise _NotFound from failed
            raise self._api.outcomes.error(failed) from failed


class _NotFound(Exception):
    """There is no such object."""


async def _newest(
    items: AsyncGenerator[NodeSnapshot | NodeDelta, None],
) -> AsyncGenerator[NodeEntry | None, None]:
    """Of a watch of one node: the node after each item, None where it is gone."""
    async with aclosing(items):
        async for item in items:
            nodes = item.nodes if isinstance(item, NodeSnapshot) else item.changed
            yield nodes[-1] if nodes else None


def _credentials(options: KubeOptions) -> Credentials:
    if options.kubeconfig is not None:
        return Kubeconfig(options.kubeconfig, options.api_url)
    if options.api_url is not None:
        return PlainUrl(options.api_url)
    if options.service_host is None:
        raise ConfigError(
            "kubeconfig",
            "Neither kubeconfig nor api_url is given, and this is no pod of a cluster"
            " (KUBERNETES_SERVICE_HOST is not set): there is no API server to ask.",
        )
    port = options.service_port or 443
    return ServiceAccount(options.service_host, port, options.service_account)
