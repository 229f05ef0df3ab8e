"""``flannel-sdk status``, ``peers`` and ``plan``: what the running daemon tells about itself."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from flannel_sdk.agent.status_client import ask
from flannel_sdk.cli.tables import print_json, print_table, remaining
from flannel_sdk.hostnet.run_files import DEFAULT_STATUS_SOCKET


def add_socket_argument(parser: argparse.ArgumentParser) -> None:
    """Declare where a command asks the daemon."""
    parser.add_argument(
        "--status-socket",
        type=Path,
        default=DEFAULT_STATUS_SOCKET,
        metavar="FILE",
        help="the daemon's socket (default: %(default)s)",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where to ask, and ``--json``."""
    add_socket_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


def run(args: argparse.Namespace) -> int:
    """Ask, and print what was answered."""
    answer = ask(args.status_socket, args.command)
    if args.json:
        print_json(answer)
    elif args.command == "status":
        _print_status(cast("dict[str, object]", answer))
    elif args.command == "peers":
        _print_peers(cast("list[dict[str, object]]", answer))
    else:
        _print_plan(cast("list[dict[str, object]]", answer))
    return 0


def _print_status(answer: dict[str, object]) -> None:
    print_table(["what", "value"], status_rows(answer))


def status_rows(answer: Mapping[str, object]) -> list[tuple[str, object]]:
    """The facts that people ask for first; ``--json`` has all of them."""
    interface, lease = _facts(answer, "interface"), _facts(answer, "lease")
    feed, keeper = _facts(answer, "feed"), _facts(answer, "keeper")
    plane = _facts(answer, "dataplane")
    rows: list[tuple[str, object]] = [
        ("state", answer.get("state")),
        ("store", answer.get("store")),
        ("backend", answer.get("backend")),
    ]
    config = _facts(answer, "config")
    if problem := config.get("restart_needed"):
        rows.append(("needs a restart", problem))
    if problem := config.get("refused"):
        rows.append(("configuration refused", problem))
    if interface:
        rows.append(("underlay", f"{interface['name']} ({_joined(interface['public_ips'])})"))
        if problem := interface.get("problem"):
            rows.append(("underlay's problem", problem))
    if lease:
        rows.append(("subnets", _joined(lease["subnets"])))
        rows.append(("lease ends", _lease_end(lease)))
        rows.append(("MTU", answer.get("mtu")))
    if keeper:
        rows.append(("lease lost and retaken", keeper["reacquisitions"]))
    if feed:
        rows.append(("peers", feed["peers"]))
        rows.append(("entries refused", _counted(_facts(feed, "refused"))))
        rows.append(("entries malformed", feed["malformed"]))
    if firewall := _facts(answer, "firewall"):
        rows += _firewall_rows(firewall)
    if plane:
        rows += _datapath_rows(_facts(plane, "datapath"))
        failed = _facts(plane, "failed")
        refused = _facts(_facts(plane, "peers"), "refused")
        rows.append(("peers the backend refuses", _counted(refused)))
        rows.append(("kernel objects", _counted(_facts(plane, "desired"))))
        rows.append(("failed in the kernel", _counted(_facts(failed, "reasons")) or 0))
        rows.append(("repaired in the kernel", _counted(_facts(plane, "repaired")) or 0))
    return rows


def _firewall_rows(firewall: Mapping[str, object]) -> list[tuple[str, object]]:
    halves = [half for half in ("masquerade", "forward") if firewall[half]]
    if not halves:
        return []
    place = firewall["place"] if firewall["settled"] else "not set yet"
    if firewall.get("given_up"):
        place = "given up"
    rows: list[tuple[str, object]] = [("firewall rules", f"{' and '.join(halves)}: {place}")]
    if problem := firewall["problem"]:
        rows.append(("firewall problem", problem))
    rows.append(("firewall repaired", _counted(_facts(firewall, "repairs")) or 0))
    return rows


def _datapath_rows(datapath: Mapping[str, object]) -> list[tuple[str, object]]:
    """Of a backend that has several ways to carry packets: which one, why, and what each did."""
    if not datapath:
        return []
    rows: list[tuple[str, object]] = [
        ("data path", f"{datapath['path']} ({datapath['why']})"),
    ]
    counters = _facts(datapath, "counters")
    for path in counters:
        counts = _facts(counters, path)
        dropped = {
            name.removeprefix("dropped_").replace("_", " "): count
            for name, count in counts.items()
            if name.startswith("dropped_")
        }
        sent, received = (
            f"{way} {counts[f'{way}_packets']} packets ({counts[f'{way}_bytes']} bytes)"
            for way in ("sent", "received")
        )
        rows.append((f"by {path}", f"{sent}, {received}"))
        rows.append((f"dropped by {path}", _counted(dropped) or 0))
    return rows


def _lease_end(lease: Mapping[str, object]) -> str:
    expires_at = cast("float | None", lease["expires_at"])
    return remaining(expires_at, permanent=bool(lease["permanent"]))


def _facts(facts: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _counted(counts: Mapping[str, object]) -> str:
    """``3 route, 3 neighbour``; empty where there is nothing."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _print_peers(peers: list[dict[str, object]]) -> None:
    print_table(
        ["subnets", "public IPs", "backend", "backend data"],
        [
            [
                _joined(peer["subnets"]),
                _joined(peer["public_ips"]),
                peer["backend"],
                _joined(peer["backend_data"]),
            ]
            for peer in peers
        ],
    )


def _joined(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list) else ""


def _print_plan(changes: list[dict[str, object]]) -> None:
    if not changes:
        print("nothing to change: the kernel is as it should be")
        return
    signs = {"add": "+", "change": "~", "remove": "-"}
    print_table(
        ["", "kind", "object"],
        [
            [signs.get(str(change["action"]), "?"), change["kind"], change["subject"]]
            for change in changes
        ],
    )
