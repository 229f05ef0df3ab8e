"""What a lab is made of, kept in one file that is written before each thing is made."""

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

from flannel_sdk.lab.errors import LabError, TornState
from flannel_sdk.lab.processes import ProcessId
from flannel_sdk.lab.spec import LabSpec
from flannel_sdk.model import Prefix

STATE_FILE = "lab.json"


@dataclass(slots=True)
class NodeRecord:
    """One node as far as the lab has built it."""

    number: int
    process: ProcessId | None = None
    """The daemon last started; it may have ended since."""
    pod_addresses: list[Prefix] = field(default_factory=list)
    """One for each family; empty until the daemon has told its subnet."""
    mtu: int = 0
    """The pod's MTU in bytes, from subnet.env."""


@dataclass(slots=True)
class ServerRecord:
    """The store's own server in the router's namespace."""

    argv: list[str]
    process: ProcessId | None = None
    """The one last started; it may have ended since."""


@dataclass(slots=True)
class LabState:
    """A lab as its file has it."""

    spec: LabSpec
    instance: str = ""
    """The lab's name; namespaces carry it."""
    nodes: dict[int, NodeRecord] = field(default_factory=dict)
    server: ServerRecord | None = None
    """None where the store needs no server, or uses one from elsewhere."""
    made_netns_directory: bool = False
    """True if /run/netns was no mount point before: then the last to leave unmounts it."""


class _Process(TypedDict):
    pid: int
    start: int


class _Node(TypedDict):
    number: int
    process: _Process | None
    pod_addresses: list[str]
    mtu: int


class _Server(TypedDict):
    argv: list[str]
    process: _Process | None


class _Document(TypedDict):
    instance: str
    spec: dict[str, object]
    made_netns_directory: bool
    server: _Server | None
    nodes: list[_Node]


def save_state(directory: Path, state: LabState) -> None:
    """Replace the lab's file at once; the directory must exist.

    Options of the store that are secret should not be in ``state``: anybody may read the file.
    """
    path = directory / STATE_FILE
    temporary = path.with_name(f".{STATE_FILE}.{os.getpid()}")
    temporary.write_text(json.dumps(_encode(state), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def claim_directory(directory: Path) -> None:
    """Make ``directory`` (if need be) a lab's; LabError if it is one or holds other files."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        present = sorted(os.listdir(directory))
        if not present:
            (directory / STATE_FILE).touch(exist_ok=False)
            return
    except FileExistsError:
        present = [STATE_FILE]
    except OSError as error:
        raise LabError(f"cannot make the lab's directory {directory}: {error.strerror}") from error
    if STATE_FILE in present:
        raise LabError(f"a lab is up, or was left behind, in {directory}: run lab down first")
    raise LabError(f"{directory} holds files that are not a lab's: choose another directory")


def remove_directory(directory: Path) -> bool:
    """Remove a lab's directory, its state file last; False if it is none or holds other files."""
    try:
        present = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if STATE_FILE in present:
        for name in present:
            path = directory / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif name != STATE_FILE:
                path.unlink()
        (directory / STATE_FILE).unlink()
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def load_state(directory: Path, instance: str) -> LabState | None:
    """The state of the lab called ``instance``, None if there is none.

    LabError if the file is torn, or another lab's; ``TornState`` tells the former.
    """
    path = directory / STATE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise LabError(f"{path} belongs to somebody else: {error.strerror}") from error
    try:
        state = _decode(cast("_Document", json.loads(text)))
    except (ValueError, TypeError, KeyError) as error:
        raise TornState(
            f"{path} is no lab's state; lab down removes it with all that carries the lab's name"
        ) from error
    if state.instance != instance:
        named = f"called {state.instance!r}" if state.instance else "without a name"
        raise LabError(f"{directory} belongs to the lab {named}, and not to {instance!r}")
    return state


def _encode(state: LabState) -> _Document:
    nodes = [
        _Node(
            number=node.number,
            process=_encode_process(node.process),
            pod_addresses=[str(address) for address in node.pod_addresses],
            mtu=node.mtu,
        )
        for node in state.nodes.values()
    ]
    server = state.server
    return _Document(
        instance=state.instance,
        spec=state.spec.to_json(),
        made_netns_directory=state.made_netns_directory,
        server=_encode_server(server) if server else None,
        nodes=nodes,
    )


def _decode(document: _Document) -> LabState:
    nodes = [
        NodeRecord(
            number=values["number"],
            process=_decode_process(values["process"]),
            pod_addresses=[Prefix.parse(text) for text in values["pod_addresses"]],
            mtu=values["mtu"],
        )
        for values in document["nodes"]
    ]
    server = document["server"]
    return LabState(
        spec=LabSpec.from_json(document["spec"]),
        instance=document["instance"],
        nodes={node.number: node for node in nodes},
        server=_decode_server(server) if server else None,
        made_netns_directory=document["made_netns_directory"],
    )


def _encode_server(server: ServerRecord) -> _Server:
    return _Server(argv=server.argv, process=_encode_process(server.process))


def _decode_server(values: _Server) -> ServerRecord:
    return ServerRecord(values["argv"], _decode_process(values["process"]))


def _encode_process(process: ProcessId | None) -> _Process | None:
    return None if process is None else _Process(pid=process.pid, start=process.start)


def _decode_process(values: _Process | None) -> ProcessId | None:
    return None if values is None else ProcessId(**values)
