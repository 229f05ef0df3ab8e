"""The options of the udp backend: flannel's Port, and our own Datapath."""

from enum import Enum
from typing import NamedTuple, Self

from flannel_sdk.errors import ConfigError
from flannel_sdk.model import BackendOptions

DEFAULT_PORT = 8285
"""flannel's."""


class Choice(Enum):
    """Who carries the packets."""

    AUTO = "auto"
    """The kernel where it can, else our own threads."""
    KERNEL = "kernel"
    USERSPACE = "userspace"


class UdpOptions(NamedTuple):
    """Validated."""

    port: int = DEFAULT_PORT
    """UDP port, the same on all nodes: what a node sends to is its own."""
    datapath: Choice = Choice.AUTO

    @classmethod
    def read(cls, options: BackendOptions) -> Self:
        """From the ``Backend`` object; ConfigError names the key that is wrong."""
        name = options.text("Datapath", "").lower()
        try:
            datapath = Choice(name or "auto")
        except ValueError:
            known = ", ".join(choice.value for choice in Choice)
            raise ConfigError(
                "Backend.Datapath",
                f"Backend.Datapath of the network configuration is {name[:40]!r}, which is none of"
                f" {known}.",
            ) from None
        port = options.integer("Port", 0, minimum=0, maximum=65535) or DEFAULT_PORT
        return cls(port, datapath)
