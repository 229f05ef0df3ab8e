"""The etcd store: flannel's leases and configuration on an etcd v3 cluster.

Importing it loads neither grpc nor protobuf; ``EtcdSubnetManager`` does when it is first asked for.
"""

import os
from typing import TYPE_CHECKING

from flannel_sdk_etcd.options import EtcdOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flannel_sdk.interfaces import LabServer, SubnetManager
    from flannel_sdk.model import IPAddress
    from flannel_sdk_etcd.manager import EtcdSubnetManager as EtcdSubnetManager

__all__ = ["EtcdOptions", "EtcdSubnetManager", "plugin"]


class EtcdPlugin:
    """What the entry points name; imports the rest only when a store is opened."""

    contract_version = 1
    options_type: type = EtcdOptions

    def open(self, options: EtcdOptions) -> "SubnetManager":
        """See SubnetManagerPlugin.

        gRPC's own log would write failed handshakes to stderr, which our errors say in a sentence;
        it is switched off here, as for a daemon, unless ``GRPC_VERBOSITY`` is set. It is one for
        all gRPC of a process, so ``EtcdSubnetManager`` leaves it as it is.
        """
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from flannel_sdk_etcd.manager import EtcdSubnetManager

        return EtcdSubnetManager(options)

    def lab_server(
        self, options: "Mapping[str, str]", directory: "Path", address: "IPAddress"
    ) -> "LabServer | None":
        """See SupportsLabServer."""
        from flannel_sdk_etcd.lab_server import lab_server

        return lab_server(options, directory, address)


plugin = EtcdPlugin()


def __getattr__(name: str) -> object:
    if name == "EtcdSubnetManager":
        from flannel_sdk_etcd.manager import EtcdSubnetManager

        return EtcdSubnetManager
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
