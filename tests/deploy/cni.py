"""What flannel's CNI plugin makes of cni-conf.json and subnet.env (flannel chapter 9)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

Conf = dict[str, object]
_FAMILIES = (("FLANNEL_SUBNET", "FLANNEL_NETWORK"), ("FLANNEL_IPV6_SUBNET", "FLANNEL_IPV6_NETWORK"))


def subnet_file(path: Path) -> dict[str, str]:
    """The plugin's own reading of the file: split at the first ``=``, no quotes."""
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, equals, value in pairs if equals}


def delegate(conflist: str, subnet: Mapping[str, str], data: Path) -> Conf:
    """The configuration that the bridge plugin is called with; its leases are kept in ``data``."""
    document = cast("Conf", json.loads(conflist))
    plugins = cast("list[Conf]", document["plugins"])
    (flannel,) = [plugin for plugin in plugins if plugin["type"] == "flannel"]
    given = cast("Conf", flannel["delegate"])
    from ipaddress import ip_interface

    present = [names for names in _FAMILIES if names[0] in subnet]
    ranges = [[{"subnet": str(ip_interface(subnet[name]).network)}] for name, _ in present]
    routes = [{"dst": subnet[network]} for _, network in present]
    defaults: Conf = {
        "type": "bridge",
        "ipMasq": subnet["FLANNEL_IPMASQ"] != "true",
        "mtu": int(subnet["FLANNEL_MTU"]),
        "isGateway": True,
    }
    ipam = {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": str(data)}
    named = {"name": document["name"], "cniVersion": document["cniVersion"]}
    return {**defaults, **given, **named, "ipam": ipam}
