"""A lab's store: a server of its own in the router's namespace where it needs one, its config."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from flannel_sdk.interfaces import LabServer
from flannel_sdk.lab.daemon import store_options
from flannel_sdk.lab.errors import LabError
from flannel_sdk.lab.processes import ProcessId, spawn_detached
from flannel_sdk.lab.spec import LabSpec

READY_SECONDS = 20.0


def planned_server(spec: LabSpec, directory: Path) -> LabServer | None:
    """The server that the store wants to run for this lab; None where it needs none.

    It listens on the router's address of the first underlay subnet, which all nodes reach.
    """
    from flannel_sdk.agent.installed_store import find_store

    address = spec.router_addresses(1)[0].address
    return find_store(spec.store).lab_server(store_options(spec, directory), directory, address)


def shown_options(spec: LabSpec) -> dict[str, str]:
    """The store's options as they may be shown and kept: without secrets."""
    from flannel_sdk.agent.installed_store import find_store

    return find_store(spec.store).without_secrets(spec.store_options)


def secret_options(spec: LabSpec) -> dict[str, str]:
    """The others, with ``_`` for ``-`` in their names."""
    shown = shown_options(spec)
    hidden = {key: text for key, text in spec.store_options.items() if key not in shown}
    return {key.replace("-", "_"): text for key, text in hidden.items()}


def server_log(directory: Path) -> Path:
    """What the store's server printed, over all its runs."""
    return directory / "store" / "server.log"


async def put_network_config(
    spec: LabSpec, directory: Path, *, document: str | None = None
) -> None:
    """Store the spec's config, or ``document``, from here, without a server of the lab's own.

    ConfigError if it, or an option, is wrong or the store takes none.
    """
    from flannel_sdk.lab.store_inside import reach_store

    options = store_options(spec, directory)
    await reach_store(spec.store, options, document or spec.network_config(), READY_SECONDS)


class StoreServer:
    """The server of one lab's store, running or not."""

    def __init__(self, netns: str, directory: Path) -> None:
        """``netns``: the router's; ``directory``: the lab's."""
        self._netns = netns
        self._directory = directory

    def spawn(self, argv: list[str]) -> tuple[ProcessId, "subprocess.Popen[bytes]"]:
        """Start it; whether it works is known from ``reach``."""
        child = spawn_detached(argv, self._netns, server_log(self._directory), self._directory)
        process = ProcessId.of(child.pid)
        if process is None:
            child.wait()
            raise LabError(self._sentence("ended at once"))
        return process, child

    async def reach(self, process: ProcessId, spec: LabSpec, document: str | None) -> None:
        """Wait until it answers in its namespace, and put ``document`` if there is one.

        LabError with the reason if it ends before, or takes too long.
        """
        wanted = {
            "store": spec.store,
            "options": store_options(spec, self._directory),
            "document": document,
            "seconds": READY_SECONDS,
        }
        asking = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self._netns, sys.executable, "-P", "-m"),
            "flannel_sdk.lab.store_inside",
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        ended = asyncio.create_task(process.wait())
        answered = asyncio.create_task(asking.communicate(json.dumps(wanted).encode()))
        try:
            await asyncio.wait([ended, answered], return_when=asyncio.FIRST_COMPLETED)
            if not answered.done():
                raise LabError(self._sentence("ended by itself"))
            _, said = await answered
            if asking.returncode:
                last = said.decode(errors="replace").strip().rpartition("\n")[2]
                raise LabError(f"the lab's store does not work: {last}")
        finally:
            ended.cancel()
            if asking.returncode is None:
                asking.kill()
            await asyncio.wait([ended, answered])

    def _sentence(self, what: str) -> str:
        try:
            text = server_log(self._directory).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        tail = "\n".join(text.splitlines()[-5:])
        subject = f"the server of the lab's store {what}"
        return f"{subject}; it said last:\n{tail}" if tail else f"{subject} and said nothing"
