"""The subnet.env of one agent: what an earlier run left in it, and whether it says what holds."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from flannel_sdk.backoff import retry
from flannel_sdk.errors import RetryableError
from flannel_sdk.hostnet.subnet_file import (
    read_previous_subnets,
    render_subnet_file,
    write_subnet_file,
)
from flannel_sdk.interfaces import Network
from flannel_sdk.model import NetworkConfig, Subnets


class SubnetEnv:
    """The file at a path, or none for an agent that writes none."""

    def __init__(self, path: Path | None, *, ip_masq: bool) -> None:
        self.path = path
        self._ip_masq = ip_masq
        self._problem: str | None = "it is not written yet"

    def previous_subnets(self) -> Subnets | None:
        """As ``read_previous_subnets``; blocking."""
        return read_previous_subnets(self.path) if self.path is not None else None

    async def publish(self, network: Network, config: NetworkConfig) -> None:
        """Write it, however often that has to be tried."""
        if self.path is None:
            return
        text = render_subnet_file(config, network.lease, network.mtu, ip_masq=self._ip_masq)
        path = self.path
        await retry(f"writing {path}", lambda: self._write(path, text))
        self._problem = None

    async def _write(self, path: Path, text: str) -> None:
        try:
            await asyncio.to_thread(write_subnet_file, path, text)
        except OSError as error:
            self._problem = f"the file cannot be written: {error.strerror or error}"
            raise RetryableError(self._problem) from error

    def status(self) -> Mapping[str, object] | None:
        """JSON-ready: where it is, and why it does not say what holds; None where there is none."""
        return None if self.path is None else {"path": str(self.path), "problem": self._problem}
