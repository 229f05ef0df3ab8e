#!/usr/bin/env python3
"""host-gw as a program for the exec backend: nothing but the standard library and iproute2."""

import json
import subprocess
import sys
from typing import Any

OURS = ("proto", "103")


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"ip {' '.join(words)} failed")
    return done.stdout


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def routes_of(peer: dict[str, Any]) -> dict[str, str]:
    """The peer's gateway by its subnet, for each family that both have."""
    gateways = peer["public_ips"]
    return {net: gateways[f] for f, net in peer["subnets"].items() if f in own and f in gateways}


def our_routes() -> set[str]:
    found = set()
    for family in ("-4", "-6"):
        rows = json.loads(ip(family, "-j", "route", "show", *OURS) or "[]")
        found |= {row["dst"] for row in rows}
    return found


def apply(update: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the routes as told; the peers that this failed for, and why."""
    gone = {net for peer in update["removed"] for net in peer.values()}
    if update["full"]:
        gone = our_routes() - {net for peer in update["changed"] for net in routes_of(peer)}
    for net in gone & our_routes():
        ip("route", "del", net, *OURS)
    refused = []
    for peer in update["changed"]:
        try:
            for net, gateway in routes_of(peer).items():
                ip("route", "replace", net, "via", gateway, *OURS)
        except RuntimeError as error:
            refused.append({"peer": peer["subnets"], "reason": str(error)})
    return refused


own: dict[str, str] = {}
for line in sys.stdin:
    message = json.loads(line)
    try:
        match message["type"]:
            case "register":
                mtu = message["interface"]["mtu"]
                say(type="publish", protocol=1)
            case "lease":
                own = message["lease"]["subnets"]
                say(type="registered", mtu=mtu)
            case "update":
                say(type="ack", id=message["id"], refused=apply(message))
                say(type="status", facts={"routes": len(our_routes())})
            case "ping":
                say(type="pong", id=message["id"])
    except RuntimeError as error:
        say(type="error", message=str(error), retryable=True)
        break
