"""Which data path a network takes, decided once when it is registered, and why."""

import logging
from contextlib import aclosing
from typing import NamedTuple

from flannel_sdk_udp.datapath import DatapathUnsupported, KernelDatapath, Tunnel
from flannel_sdk_udp.options import Choice

_logger = logging.getLogger(__name__)


class Decision(NamedTuple):
    """The path taken."""

    kernel: bool
    why: str
    """For people: half a sentence."""

    @property
    def name(self) -> str:
        """``kernel`` or ``userspace``."""
        return "kernel" if self.kernel else "userspace"


async def decide(tunnel: Tunnel, wish: Choice) -> Decision:
    """Try the kernel's path on the tunnel's device, unless it is not wished.

    DatapathUnsupported where it is demanded and cannot work; KernelError for what may heal.
    """
    from flannel_sdk_udp.ebpf import open_kernel_path

    decision = Decision(False, "Backend.Datapath is userspace")
    path = open_kernel_path(tunnel)
    async with aclosing(path):
        if wish is not Choice.USERSPACE:
            decision = await _try(path, wish)
        if not decision.kernel:  # what an earlier run left would go on, and know its peers only
            await path.remove()
    _logger.info("%s carries packets in %s: %s", tunnel.device, decision.name, decision.why)
    return decision


async def _try(path: KernelDatapath, wish: Choice) -> Decision:
    try:
        await path.attach()
    except DatapathUnsupported as error:
        if wish is Choice.KERNEL:
            raise
        return Decision(False, f"not kernel: {error}")
    return Decision(True, f"Backend.Datapath is {wish.value}, and eBPF works here")
