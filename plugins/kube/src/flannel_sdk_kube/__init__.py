"""The kube store: the Node objects of a Kubernetes cluster are flannel's leases.

Importing it loads neither aiohttp nor kubernetes; ``KubeSubnetManager`` loads the former when it is
first used, and the latter only where a kubeconfig is given.
"""

from typing import TYPE_CHECKING

from flannel_sdk_kube.options import KubeOptions

if TYPE_CHECKING:
    from flannel_sdk.interfaces import SubnetManager
    from flannel_sdk_kube.manager import KubeSubnetManager as KubeSubnetManager

__all__ = ["KubeOptions", "KubeSubnetManager", "plugin"]


class KubePlugin:
    """What the entry point names; imports the rest only when a store is opened."""

    contract_version = 1
    options_type: type = KubeOptions

    def open(self, options: KubeOptions) -> "SubnetManager":
        """See SubnetManagerPlugin."""
        from flannel_sdk_kube.manager import KubeSubnetManager

        return KubeSubnetManager(options)


plugin = KubePlugin()


def __getattr__(name: str) -> object:
    if name == "KubeSubnetManager":
        from flannel_sdk_kube.manager import KubeSubnetManager

        return KubeSubnetManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
