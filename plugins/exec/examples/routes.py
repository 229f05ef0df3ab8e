#!/usr/bin/env python3
"""host-gw as a program for the exec backend: nothing but the standard library and iproute2."""

import json
import select
import subprocess
import sys
from typing import Any

OURS = ("proto", "103")
own: dict[str, Any] = {}
"""Our lease's subnets by family, and the MTU of the underlay."""
wanted: dict[str, str] = {}
"""The gateway by the subnet that it is for."""


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip() or f"ip {' '.join(words)} failed")
    return done.stdout


def say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def kernel_routes() -> dict[str, str]:
    found: dict[str, str] = {}
    for family in ("-4", "-6"):
        rows = json.loads(ip(family, "-j", "route", "show", *OURS) or "[]")
        found |= {row["dst"]: row.get("gateway", "") for row in rows}
    return found


def repair() -> dict[str, str]:
    """Bring the kernel to ``wanted``, writing only what differs; what failed, by subnet."""
    have, failed = kernel_routes(), {}
    for net in have.keys() - wanted.keys():
        ip("route", "del", net, *OURS)
    for net, gateway in wanted.items():
        if have.get(net) != gateway:
            try:
                ip("route", "replace", net, "via", gateway, *OURS)
            except RuntimeError as error:
                failed[net] = str(error)
    return failed


def apply(update: dict[str, Any]) -> list[dict[str, Any]]:
    """Do as told; the peers that cannot be served, and why."""
    if update["full"]:
        wanted.clear()
    for peer in [*update["removed"], *(lease["subnets"] for lease in update["changed"])]:
        for net in peer.values():
            wanted.pop(net, None)
    for lease in update["changed"]:
        for family, net in lease["subnets"].items():
            if family in own and family in lease["public_ips"]:
                wanted[net] = lease["public_ips"][family]
    failed = repair()
    return [
        {"peer": lease["subnets"], "reason": failed[net]}
        for lease in update["changed"]
        for net in lease["subnets"].values()
        if net in failed
    ]


def answer(message: dict[str, Any]) -> None:
    """One message of the agent's; PROTOCOL.md says what each is for."""
    match message["type"]:
        case "register":
            own["mtu"] = message["interface"]["mtu"]
            say(type="publish", protocol=1)
        case "lease":
            own.update(message["lease"]["subnets"])
            say(type="registered", mtu=own["mtu"])
        case "update":
            say(type="ack", id=message["id"], refused=apply(message))
            say(type="status", facts={"routes": len(wanted)})
        case "ping":
            say(type="pong", id=message["id"])


serving = False
"""Once we have been told all peers, what somebody takes away is put back each second."""
while True:
    # One message comes at a time, so none is in Python's buffer while select waits.
    try:
        if serving and not select.select([sys.stdin], [], [], 1.0)[0]:
            repair()
            continue
        line = sys.stdin.readline()
        if not line:
            break  # the agent is gone; the routes stay
        message = json.loads(line)
        answer(message)
        serving = serving or message["type"] == "update"
    except RuntimeError as error:
        say(type="error", message=str(error), retryable=True)
        break
