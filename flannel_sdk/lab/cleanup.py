"""Removes all of a lab: from its state file, and beyond it by name and by mark after a crash."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flannel_sdk.lab.errors import TornState
from flannel_sdk.lab.mounts import leave_netns_directory
from flannel_sdk.lab.names import OWNED_VARIABLE, LabNames
from flannel_sdk.lab.processes import (
    ProcessId,
    ownership_mark,
    processes_inside,
    processes_marked,
    terminate,
)
from flannel_sdk.lab.state import LabState, load_state, remove_directory
from flannel_sdk.lab.topology import remove_namespaces

_ROUNDS = 5


class Removed(NamedTuple):
    """What ``clean_up`` found and took away."""

    namespaces: list[str]
    processes: int
    killed: int
    """Those of the processes that did not end on SIGTERM."""
    directory: bool

    @property
    def anything(self) -> bool:
        """False if there was no lab, and no trace of one."""
        return bool(self.namespaces or self.processes or self.directory)


async def clean_up(names: LabNames, directory: Path) -> Removed:
    """End every process of the lab, delete its namespaces and its directory.

    Needs no state file: the namespaces are known by name, the processes by the namespace they are
    in and by a mark in their environment. Idempotent. LabError if the directory is another lab's.
    """
    state: LabState | None = None
    with suppress(TornState):
        state = load_state(directory, names.instance)
    ended, killed = await _end_processes(names, directory)
    namespaces = names.leftovers()
    await remove_namespaces(namespaces)
    if state is not None and state.made_netns_directory:
        leave_netns_directory()
    return Removed(namespaces, len(ended), killed, remove_directory(directory))


async def _end_processes(names: LabNames, directory: Path) -> tuple[set[ProcessId], int]:
    """Look again after each round: a dying process may have started another."""
    mark = ownership_mark(directory)
    ended: set[ProcessId] = set()
    killed = 0
    for _ in range(_ROUNDS):
        found = {*processes_inside(names.leftovers()), *processes_marked(OWNED_VARIABLE, mark)}
        if not found:
            break
        killed += len(await terminate(found))
        ended |= found
    return ended, killed
