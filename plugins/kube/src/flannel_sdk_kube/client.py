"""KubeClient: nodes of a cluster, read, watched and patched through its API server."""

from collections.abc import AsyncGenerator, Mapping

from flannel_sdk_kube.node_client import NodeDelta, NodeEntry, NodeSnapshot
from flannel_sdk_kube.options import KubeOptions


class KubeClient:
    """NodeClient over HTTP. It belongs to the event loop that it is first used in."""

    def __init__(self, options: KubeOptions) -> None:
        """No I/O; ConfigError if the options name no API server."""
        self.name = "kube"

    async def node_name(self) -> str:
        """See NodeClient."""
        raise NotImplementedError

    async def get_node(self, name: str) -> NodeEntry | None:
        """See NodeClient."""
        raise NotImplementedError

    async def patch_node_status(self, name: str, body: Mapping[str, object]) -> NodeEntry | None:
        """See NodeClient."""
        raise NotImplementedError

    def watch_nodes(self) -> AsyncGenerator[NodeSnapshot | NodeDelta, None]:
        """See NodeClient."""
        raise NotImplementedError

    def watch_node(self, name: str) -> AsyncGenerator[NodeEntry | None, None]:
        """See NodeClient."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """See NodeClient."""
