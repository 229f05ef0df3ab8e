"""Lab: a cluster of network namespaces with one real daemon a node; up, down and all between."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from flannel_sdk.engine.discovery import load_backend_plugin
from flannel_sdk.lab.cleanup import Removed, clean_up
from flannel_sdk.lab.daemon import (
    DaemonCommand,
    flannel_sdk_daemon,
    spawn_daemon,
    wait_running,
    wait_subnet_file,
)
from flannel_sdk.lab.errors import LabError
from flannel_sdk.lab.mounts import netns_directory_is_mounted
from flannel_sdk.lab.names import LabNames, netns_path
from flannel_sdk.lab.node_files import NodeFiles, SubnetFile
from flannel_sdk.lab.ping import Matrix, Pod, ping_all
from flannel_sdk.lab.processes import ProcessId, terminate
from flannel_sdk.lab.secret_files import read_secrets, write_secrets
from flannel_sdk.lab.spec import LabSpec
from flannel_sdk.lab.state import (
    LabState,
    NodeRecord,
    ServerRecord,
    claim_directory,
    load_state,
    save_state,
)
from flannel_sdk.lab.store import (
    StoreServer,
    planned_server,
    put_network_config,
    secret_options,
    shown_options,
)
from flannel_sdk.lab.topology import attach_pod, make_nodes, make_underlay, remove_namespaces
from flannel_sdk.probing.pings import SMALL_PACKET_BYTES
from flannel_sdk.task_groups import single_error

Progress = Callable[[str], None]
"""Told what happens next, in a few words for people."""

READY_SECONDS = 20.0


class Lab:
    """One lab. Made by ``Lab.up``, or by ``Lab.attach`` to one that is up already.

    Not for concurrent changes by several callers; reading methods may run at any time. Errors are
    LabError, and PrivilegeError without root.
    """

    def __init__(
        self, names: LabNames, directory: Path, state: LabState, command: DaemonCommand
    ) -> None:
        self.names, self.directory, self.state = names, directory, state
        self._command = command
        self._children: dict[ProcessId, subprocess.Popen[bytes]] = {}
        self._server = StoreServer(names.router, directory)
        self._shown_options: dict[str, str] | None = None

    @classmethod
    async def up(
        cls,
        spec: LabSpec,
        *,
        instance: str = "",
        directory: Path | None = None,
        command: DaemonCommand = flannel_sdk_daemon,
        progress: Progress = lambda _: None,
    ) -> Self:
        """Build it and start the daemons; returns when each runs and each pod has its address.

        Whatever was made is taken down again on any failure and when cancelled. LabError if a lab
        of this name is up already, PluginError if our daemons could not load the backend.
        ``command`` may start another agent in place of ours.
        """
        names = LabNames(instance)
        directory = directory or names.directory()
        if command is flannel_sdk_daemon:
            load_backend_plugin(spec.backend)
        if left := names.leftovers():
            raise LabError(
                f"a lab is up, or was left behind ({left[0]} is there): run lab down first"
            )
        claim_directory(directory)
        lab = cls(names, directory, LabState(spec, instance), command)
        lab.state.made_netns_directory = not netns_directory_is_mounted()
        try:
            await lab._build(progress)
        except BaseException:
            await asyncio.shield(lab.down())
            raise
        return lab

    @classmethod
    def attach(
        cls,
        *,
        instance: str = "",
        directory: Path | None = None,
        command: DaemonCommand = flannel_sdk_daemon,
    ) -> Self:
        """The lab that is up under this name; LabError if there is none."""
        names = LabNames(instance)
        directory = directory or names.directory()
        state = load_state(directory, instance)
        if state is None:
            raise LabError(f"no lab is up in {directory}: flannel-sdk lab up makes one")
        options = {**state.spec.store_options, **read_secrets(directory)}
        state.spec = replace(state.spec, store_options=options)
        return cls(names, directory, state, command)

    async def down(self) -> Removed:
        """Remove all of it; works on a half-built or crashed lab, too. Idempotent."""
        removed = await clean_up(self.names, self.directory)
        for child in self._children.values():
            child.wait()
        self._children.clear()
        self.state.nodes.clear()
        return removed

    @property
    def spec(self) -> LabSpec:
        """What the lab was asked to be; nodes may have joined and left since."""
        return self.state.spec

    def node(self, number: int) -> NodeRecord:
        """The record of a node; LabError if there is no such node."""
        try:
            return self.state.nodes[number]
        except KeyError:
            known = ", ".join(map(str, self.state.nodes)) or "none"
            raise LabError(f"there is no node {number} in this lab (nodes: {known})") from None

    def files(self, number: int) -> NodeFiles:
        """The paths of a node's files."""
        return NodeFiles(self.directory, number)

    def pods(self) -> list[Pod]:
        """The pods that have addresses, in the order of their nodes."""
        return [
            Pod(
                node.number,
                netns_path(self.names.pod(node.number)),
                tuple(prefix.address for prefix in node.pod_addresses),
            )
            for node in self.state.nodes.values()
            if node.pod_addresses
        ]

    def pod(self, number: int) -> Pod:
        """The pod of one node; LabError while it has no address."""
        for pod in self.pods():
            if pod.node == number:
                return pod
        raise LabError(f"node {number} has no pod with an address")

    async def ping(
        self,
        *,
        timeout: float = 2.0,
        interval: float = 0.2,
        packet_bytes: int = SMALL_PACKET_BYTES,
    ) -> Matrix:
        """Ping between every pair of pods; see ``ping_all``."""
        return await ping_all(
            self.pods(), timeout=timeout, interval=interval, packet_bytes=packet_bytes
        )

    async def wait_connected(self, timeout: float = 10.0) -> Matrix:
        """Ping every pair each 10 ms until all have answered; see ``Matrix.elapsed``."""
        return await self.ping(timeout=timeout, interval=0.01)

    async def add_node(self) -> int:
        """One more node joins, with daemon and pod; its number."""
        number = max(self.state.nodes, default=0) + 1
        await self._make_nodes([number])
        await self.start_daemon(number)
        return number

    async def remove_node(self, number: int) -> None:
        """The node dies at once: its daemon killed, its namespaces gone. Its lease stays."""
        node = self.node(number)
        if node.process is not None:
            await self.stop_daemon(number, signal.SIGKILL)
        await remove_namespaces([self.names.node(number), self.names.pod(number)])
        del self.state.nodes[number]
        self._save()

    async def start_daemon(self, number: int) -> None:
        """Start a node's daemon, wait until it runs, and give the pod its address.

        LabError if it runs already, ends by itself or is not ready in time.
        """
        node, files = self.node(number), self.files(number)
        process = self._spawn(node)
        # A file of an earlier run is there at once; only a running daemon's says what holds now.
        await wait_subnet_file(process, files, READY_SECONDS)
        await wait_running(process, files, READY_SECONDS)
        await self._wire_pod(node, await wait_subnet_file(process, files, READY_SECONDS))

    async def stop_daemon(
        self, number: int, how: signal.Signals = signal.SIGTERM
    ) -> tuple[int | None, float]:
        """Signal a node's daemon and wait for its end: exit code and seconds that it took.

        The code is negative for a signal, as in subprocess, and None if another process started
        the daemon. SIGKILL follows after 10 s. LabError if it does not run.
        """
        return await self._stop(f"the daemon of node {number}", self.node(number).process, how)

    async def put_network_config(self, document: str) -> None:
        """Store another network config; the nodes follow it. ConfigError where it is wrong."""
        server = self.state.server
        if server is None:
            await put_network_config(self.spec, self.directory, document=document)
        elif server.process is None:
            raise LabError("the server of the lab's store does not run")
        else:
            await self._server.reach(server.process, self.spec, document)

    async def start_server(self) -> None:
        """Start the server of the store again and wait until it answers.

        LabError if there is none, it runs already, ends by itself or does not answer in time.
        """
        await self._server.reach(self._spawn_server(), self.spec, None)

    async def stop_server(self, how: signal.Signals = signal.SIGTERM) -> tuple[int | None, float]:
        """Signal the server of the store and wait for its end, as ``stop_daemon`` does."""
        server = self.state.server
        return await self._stop("the server of the store", server.process if server else None, how)

    async def _stop(
        self, subject: str, process: ProcessId | None, how: signal.Signals
    ) -> tuple[int | None, float]:
        start = time.monotonic()
        if process is None or not process.kill(how):
            raise LabError(f"{subject} does not run")
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            await terminate([process], patience=0)
        seconds = time.monotonic() - start
        child = self._children.pop(process, None)
        return (None if child is None else child.wait()), seconds

    async def _build(self, progress: Progress) -> None:
        self._save()
        server = planned_server(self.spec, self.directory)
        if server is None:
            await self.put_network_config(self.spec.network_config())
        else:
            self.state.spec = replace(self.spec, store_options=server.options)
            self._shown_options = None
            self.state.server = ServerRecord(list(server.argv))
        write_secrets(self.directory, secret_options(self.spec))
        progress(f"wiring {self.spec.nodes} nodes")
        await make_underlay(self.names, self.spec)
        if server is not None:
            self._spawn_server()
        await self._make_nodes(range(1, self.spec.nodes + 1))
        if server is not None:
            progress(f"waiting for the server of the store {self.spec.store}")
            await self.put_network_config(self.spec.network_config())
        progress(f"starting {self.spec.nodes} daemons")
        with single_error():
            async with asyncio.TaskGroup() as group:
                for number in self.state.nodes:
                    group.create_task(self.start_daemon(number))

    async def _make_nodes(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.state.nodes[number] = NodeRecord(number)
        self._save()
        await make_nodes(self.names, self.spec, numbers)

    def _spawn_server(self) -> ProcessId:
        server = self.state.server
        if server is None:
            raise LabError(f"the store {self.spec.store} has no server in this lab")
        if server.process is not None and server.process.alive:
            raise LabError("the server of the store runs already")
        process, child = self._server.spawn(server.argv)
        self._children[process] = child
        server.process = process
        self._save()
        return process

    def _spawn(self, node: NodeRecord) -> ProcessId:
        if node.process is not None and node.process.alive:
            raise LabError(f"the daemon of node {node.number} runs already")
        files = self.files(node.number)
        argv = self._command(self.spec, files)
        child = spawn_daemon(argv, self.names.node(node.number), files)
        process = ProcessId.of(child.pid)
        if process is None:
            raise LabError(f"the daemon of node {node.number} ended at once")
        self._children[process] = child
        node.process = process
        self._save()
        return process

    async def _wire_pod(self, node: NodeRecord, found: SubnetFile) -> None:
        """Wire the pod, unless it has this subnet already: then its traffic is not disturbed."""
        subnets = [prefix.masked() for prefix in node.pod_addresses]
        if subnets == [gateway.masked() for gateway in found.gateways] and node.mtu == found.mtu:
            return
        node.pod_addresses = await attach_pod(self.names, node.number, found.gateways, found.mtu)
        node.mtu = found.mtu
        self._save()

    def _save(self) -> None:
        if self._shown_options is None:
            self._shown_options = shown_options(self.spec)
        shown = replace(self.spec, store_options=self._shown_options)
        save_state(self.directory, replace(self.state, spec=shown))
