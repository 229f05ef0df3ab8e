"""Starts one node's daemon inside its namespace and tells when it is ready."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flannel_sdk.lab.errors import LabError
from flannel_sdk.lab.names import UNDERLAY_LINK
from flannel_sdk.lab.node_files import NodeFiles, SubnetFile
from flannel_sdk.lab.processes import ProcessId, spawn_detached
from flannel_sdk.lab.secret_files import secret_file
from flannel_sdk.lab.spec import LabSpec
from flannel_sdk.lab.status_client import ask_daemon

POLL_SECONDS = 0.01
_SENTENCE = "flannel-sdk: "
"""Begins the line in which our daemon says why it ends."""

DaemonCommand = Callable[[LabSpec, NodeFiles], Sequence[str]]
"""The command line of a node's daemon, to run inside its namespace until SIGTERM."""


def store_options(spec: LabSpec, directory: Path) -> dict[str, str]:
    """The store's options; sqlite without a path of its own keeps its file with the lab."""
    options = {key.replace("-", "_"): value for key, value in spec.store_options.items()}
    if spec.store == "sqlite":
        options.setdefault("path", str(directory / "store.db"))
    return options


def flannel_sdk_daemon(spec: LabSpec, files: NodeFiles) -> Sequence[str]:
    """``flannel-sdk daemon`` run by this very Python."""
    options = store_options(spec, files.lab)
    return [
        *(sys.executable, "-P", "-m", "flannel_sdk.cli", "daemon"),
        *("--store", spec.store),
        *(word for key in options for word in _option_words(key, options[key], files.lab)),
        *("--iface", UNDERLAY_LINK),
        *("--subnet-file", str(files.subnet_file)),
        *("--status-socket", str(files.status_socket)),
    ]


def _option_words(key: str, text: str, directory: Path) -> tuple[str, str]:
    """Anybody may list the command lines of a machine's processes: a secret is in its file."""
    secret = secret_file(directory, key)
    if secret.exists():
        return "--store-option-file", f"{key}={secret}"
    return "--store-option", f"{key}={text}"


def spawn_daemon(argv: Sequence[str], netns: str, files: NodeFiles) -> "subprocess.Popen[bytes]":
    """Start ``argv`` in ``netns``, detached from our session, its output appended to the log."""
    return spawn_detached(argv, netns, files.log, files.lab)


async def wait_subnet_file(process: ProcessId, files: NodeFiles, timeout: float) -> SubnetFile:
    """subnet.env once the daemon has written it; LabError if it ends before, or is too late."""
    try:
        async with asyncio.timeout(timeout):
            while (found := files.read_subnet_file()) is None:
                _check_alive(process, files)
                await asyncio.sleep(POLL_SECONDS)
            return found
    except TimeoutError as error:
        raise LabError(_sentence(files, f"has no subnet after {timeout:g} s")) from error


async def wait_running(process: ProcessId, files: NodeFiles, timeout: float) -> None:
    """Return once the daemon reports ``running``; LabError as for ``wait_subnet_file``."""
    try:
        async with asyncio.timeout(timeout):
            while (await daemon_state(files)) != "running":
                _check_alive(process, files)
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise LabError(_sentence(files, f"is not running after {timeout:g} s")) from error


async def daemon_state(files: NodeFiles) -> str | None:
    """``starting`` or ``running`` as the daemon says itself; None if it does not answer."""
    answer = await ask_daemon(files.status_socket, "status")
    return None if answer is None else str(answer.get("state"))


def _check_alive(process: ProcessId, files: NodeFiles) -> None:
    if not process.alive:
        raise LabError(_sentence(files, "ended by itself"))


def _sentence(files: NodeFiles, what: str) -> str:
    subject = f"the daemon of node {files.number} {what}"
    tail = files.log_tail(5)
    last = tail.rpartition("\n")[2]
    if last.startswith(_SENTENCE):
        return f"{subject}: {last.removeprefix(_SENTENCE)}"
    return f"{subject}; it said last:\n{tail}" if tail else f"{subject} and said nothing"
