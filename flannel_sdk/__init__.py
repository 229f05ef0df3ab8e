"""SDK and agent for container overlay networks, compatible with flannel.

The names here are those of an embedder, loaded when they are first asked for: importing the package
costs nothing. What plugins are made of is in ``interfaces``, ``model``, ``toolkit`` and
``dataplane``; what proves them is in ``testing``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flannel_sdk.agent import AgentOptions, InterfaceRequest, NodeAgent, open_store

__version__ = "0.1.0"

__all__ = ["AgentOptions", "InterfaceRequest", "NodeAgent", "__version__", "open_store"]

if not TYPE_CHECKING:  # a checker knows the names, and no others

    def __getattr__(name: str) -> object:
        if name in __all__:
            from flannel_sdk import agent

            return getattr(agent, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
