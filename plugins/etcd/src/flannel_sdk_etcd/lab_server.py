"""An etcd server of a lab's own, for the lab that names no other."""

import os
from collections.abc import Mapping
from pathlib import Path

from flannel_sdk.interfaces import LabServer
from flannel_sdk.model import Family, IPAddress
from flannel_sdk_etcd.endpoints import DEFAULT_PORT
from flannel_sdk_etcd.server_program import find_server


def lab_server(options: Mapping[str, str], directory: Path, address: IPAddress) -> LabServer | None:
    """One member on ``address``, its data below ``directory``; None where a member is named.

    The labs of a machine have namespaces of their own, so the usual port is free.
    """
    if options.keys() & {"endpoints", "host"}:
        return None
    host = f"[{address}]" if address.family is Family.IPV6 else str(address)
    port = options.get("port", str(DEFAULT_PORT))
    client = f"http://{host}:{port}"
    peers = "http://127.0.0.1:2380"
    # etcd ends where a variable of its own says otherwise than a flag.
    unset = [word for name in os.environ if name.startswith("ETCD_") for word in ("-u", name)]
    argv = [
        *("env", *unset),
        str(find_server(os.environ)),
        *("--name", "lab", "--data-dir", str(directory / "store" / "etcd")),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
        *("--initial-cluster", f"lab={peers}", "--logger", "zap", "--log-level", "warn"),
    ]
    kept = {key: text for key, text in options.items() if key != "port"}
    return LabServer(argv, {**kept, "endpoints": client})
