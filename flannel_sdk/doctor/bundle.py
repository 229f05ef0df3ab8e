"""The support bundle: one tar.gz with everything that a helper would ask for, without secrets."""

import importlib.metadata
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flannel_sdk import __version__
from flannel_sdk.doctor.examination import Examination
from flannel_sdk.errors import PermanentError
from flannel_sdk.netns import run_in_netns
from flannel_sdk.redaction import redacted, redacted_text

_COMMANDS = {
    "ip-link": "ip -details -statistics link show",
    "ip-address": "ip address show",
    "ip-rule": "ip rule show",
    "ip-route": "ip route show table all",
    "ip-route6": "ip -6 route show table all",
    "ip-neigh": "ip neigh show",
    "bridge-fdb": "bridge fdb show",
    "nft": "nft list ruleset",
    "iptables": "iptables-save",
    "ip6tables": "ip6tables-save",
    "sysctl": "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.ipv4.conf.all.rp_filter",
}
_SECONDS = 20.0
_MOST_BYTES = 32 << 20
"""Of one command's output."""

_README = """\
A support bundle of flannel-sdk, made by flannel-sdk doctor --bundle.

  report.json      what doctor found: layers, problems, cures
  status.json      the daemon's own account of itself
  peers.json       the peers that it knows
  inspection.json  its store, read anew, beside what it serves; the network's configuration
  plans.json       what it would change in the kernel
  kernel/          this node's tables, as iproute2 and the firewalls print them
  versions.json    releases of flannel-sdk, its plugins, Python and the kernel

Values of keys that look like secrets, private keys, tokens and passwords in URLs were taken out.
Subnets, IP addresses, MAC addresses, names of devices and of nodes were not: look through it.

Logs are not in here. Please add those of the time of the fault, from every node concerned:
  journalctl -u flannel-sdk --since "1 hour ago"
  kubectl -n kube-flannel logs ds/kube-flannel-ds --since=1h --prefix
"""


def write_bundle(path: Path, examination: Examination) -> None:
    """Write it, ours and readable by us only; PermanentError where that cannot be done.

    A file that is there is replaced, whoever's it is and whoever may read it.
    """
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as archive:
                for name, text in _files(examination):
                    _add(archive, f"flannel-sdk-bundle/{name}", text)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PermanentError(
            f"cannot write the bundle {path}: {error.strerror or error}; name another file"
        ) from error


def _files(examination: Examination) -> Iterator[tuple[str, str]]:
    yield "README.txt", _README
    yield "report.json", _json(examination.report.to_json())
    patient = examination.patient
    if patient is not None:
        yield "status.json", _json(patient.status)
        yield "peers.json", _json(patient.peers)
        yield "inspection.json", _json(patient.inspection)
        yield "plans.json", _json(patient.plans)
    yield "versions.json", _json(_versions())
    netns = patient.netns if patient is not None else None
    for name, command in _COMMANDS.items():
        yield f"kernel/{name}.txt", redacted_text(_output(command, netns))


def _json(value: object) -> str:
    return json.dumps(redacted(value), indent=2, ensure_ascii=False) + "\n"


def _output(command: str, netns: str | None) -> str:
    """What a command prints in the daemon's namespace, or why there is nothing."""

    def run() -> str:
        done = subprocess.run(command.split(), capture_output=True, check=False, timeout=_SECONDS)
        printed = done.stdout[:_MOST_BYTES] + done.stderr[:_MOST_BYTES]
        return printed.decode(errors="replace")

    try:
        return run_in_netns(netns, run)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command}: {error}\n"


def _versions() -> dict[str, object]:
    return {
        "flannel_sdk": __version__,
        "python": sys.version,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _os_release(),
        "distributions": {
            d.name: d.version
            for d in importlib.metadata.distributions()
            if d.name.startswith("flannel") or d.name in {"pyroute2", "grpcio", "aiohttp"}
        },
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _os_release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="replace")
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
