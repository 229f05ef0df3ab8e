"""The options of the vxlan backend, as in flannel's network configuration."""

from typing import NamedTuple, Self

from flannel_sdk.model import BackendOptions

DEFAULT_PORT = 8472
"""The kernel's own default for vxlan, and flannel's; IANA's is 4789."""


class VxlanOptions(NamedTuple):
    """Validated; the defaults are flannel's."""

    vni: int = 1
    port: int = DEFAULT_PORT
    mtu: int | None = None
    """Bytes that the underlay carries; None: what the interface says."""
    gbp: bool = False
    learning: bool = False
    direct_routing: bool = False

    @classmethod
    def read(cls, options: BackendOptions) -> Self:
        """From the ``Backend`` object; ConfigError names the key that is wrong."""
        return cls(
            vni=options.integer("VNI", 1, minimum=0, maximum=2**24 - 1),
            port=options.integer("Port", 0, minimum=0, maximum=65535) or DEFAULT_PORT,
            mtu=options.integer("MTU", 0, minimum=0, maximum=65535) or None,
            gbp=options.boolean("GBP", False),
            learning=options.boolean("Learning", False),
            direct_routing=options.boolean("DirectRouting", False),
        )
