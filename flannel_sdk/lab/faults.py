"""Takes away what a backend has put into a node's kernel, for the agent to put back."""

import json
from typing import NamedTuple, TypedDict

from flannel_sdk.lab.iproute import ip_batch, ip_output
from flannel_sdk.lab.names import POD_BRIDGE, UNDERLAY_LINK
from flannel_sdk.lab.spec import POD_NETWORKS, LabSpec
from flannel_sdk.model import Family

_LAB_LINKS = {"lo", UNDERLAY_LINK, POD_BRIDGE, "veth-pod"}


class Fault(NamedTuple):
    """What is about to be taken away in one namespace."""

    netns: str
    commands: list[str]
    """For ``ip``."""
    subject: str
    """What people call it: ``device flannel.1``."""

    async def strike(self) -> None:
        """Do it; LabError if something is not there."""
        await ip_batch(self.commands, netns=self.netns)


class _Link(TypedDict):
    ifname: str
    flags: list[str]


class _Route(TypedDict):
    dst: str
    protocol: str


async def find_fault(spec: LabSpec, netns: str) -> Fault | None:
    """The overlay devices of the node, else its routes to other nodes' pods; None without both."""
    links: list[_Link] = json.loads(await ip_output(["-json", "link", "show"], netns=netns))
    # Loading a tunnel module puts a device that is down into every namespace: not the backend's.
    devices = [k["ifname"] for k in links if k["ifname"] not in _LAB_LINKS and "UP" in k["flags"]]
    if devices:
        kind = "device" if len(devices) == 1 else "devices"
        subject = f"{kind} {' and '.join(devices)}"
        return Fault(netns, [f"link delete {name}" for name in devices], subject)
    routes = [route for family in spec.families.members for route in await _routes(family, netns)]
    if not routes:
        return None
    subject = f"{len(routes)} routes" if len(routes) > 1 else f"the route to {routes[0]}"
    return Fault(netns, [f"route delete {route}" for route in routes], subject)


async def _routes(family: Family, netns: str) -> list[str]:
    version = "-4" if family is Family.IPV4 else "-6"
    arguments = [version, "-json", "route", "show", "root", POD_NETWORKS[family]]
    routes: list[_Route] = json.loads(await ip_output(arguments, netns=netns))
    return [route["dst"] for route in routes if route["protocol"] != "kernel"]
