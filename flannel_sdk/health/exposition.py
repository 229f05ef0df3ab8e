"""An agent's status as Prometheus metrics; the only module that imports prometheus_client."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from flannel_sdk.health.facts import Status
from flannel_sdk.health.metrics import families


class _AgentCollector(Collector):
    """Makes all families anew for each scrape: nothing is counted twice, here and in the agent."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        return families(self._status())

    def describe(self) -> Iterable[Metric]:
        """None: a registry would otherwise collect once when this is registered."""
        return ()


class Exposition:
    """A registry of its own for one agent: several in one process do not mix."""

    def __init__(self, status: Callable[[], Status]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_AgentCollector(status))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body for a request with this Accept header, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
