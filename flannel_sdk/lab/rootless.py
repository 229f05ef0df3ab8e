"""Labs without root: a user namespace of one's own, kept open by a process that holds it."""

import asyncio
import json
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from flannel_sdk.errors import PrivilegeError
from flannel_sdk.lab.errors import LabError
from flannel_sdk.lab.names import DIRECTORY_VARIABLE, LabNames
from flannel_sdk.lab.processes import ProcessId, ownership_mark, processes_marked, terminate

HOLDER_VARIABLE = "FLANNEL_LAB_HOLDER"
"""In the environment of each process inside: the ownership mark of the holder's directory."""

_HOLDER_FILE = "holder.json"
_INSIDE = "mount -n -t tmpfs tmpfs /run && echo ready && exec sleep infinity"


class UserNamespace:
    """The user, network and mount namespace that one lab of an unprivileged user lives in.

    Its /run is empty and its own, so a lab inside uses the same paths as root's. It lasts until
    ``end``, or until its last process has ended.
    """

    def __init__(self, names: LabNames) -> None:
        """The one for the labs called ``names``; nothing is made yet."""
        self.directory = _holder_directory(names)
        self._mark = ownership_mark(self.directory)
        self._child: subprocess.Popen[bytes] | None = None

    def holder(self) -> ProcessId | None:
        """The process that keeps the namespace open; None if there is none (any more)."""
        try:
            text = (self.directory / _HOLDER_FILE).read_text(encoding="ascii")
            process = ProcessId(**json.loads(text))
        except (OSError, ValueError, TypeError):
            return None
        return process if process.alive else None

    def begin(self) -> None:
        """Make it, if it is not there; PrivilegeError, with the reason, if the kernel refuses."""
        if self.holder() is not None:
            return
        self._claim_directory()
        process = self._start_holder()
        path = self.directory / _HOLDER_FILE
        path.write_text(json.dumps(asdict(process)), encoding="ascii")

    def run(self, argv: Sequence[str]) -> int:
        """Run a command inside, on our terminal, and give its exit code; LabError without a holder.

        It gets our SIGTERM; SIGINT it gets from the terminal that it shares with us. For the main
        thread only.
        """
        process = self.holder()
        if process is None:
            raise LabError("no lab of yours is up: flannel-sdk lab up makes one")
        enter = ["nsenter", f"--target={process.pid}", "--user", "--net", "--mount"]
        environment = {**os.environ, HOLDER_VARIABLE: self._mark}
        environment.pop(DIRECTORY_VARIABLE, None)
        command = [*enter, "--preserve-credentials", "--", *argv]
        with subprocess.Popen(command, env=environment) as child:
            before = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
            try:
                return _wait_past_interrupts(child)
            finally:
                signal.signal(signal.SIGTERM, before)

    async def end(self) -> int:
        """End every process inside, and with them the namespace and all in it; how many there were.

        Needs no holder: each process inside is known by its environment. Idempotent.
        """
        processes = processes_marked(HOLDER_VARIABLE, self._mark)
        holder = self.holder()
        inside = [process for process in processes if process != holder]
        await terminate(inside)
        await terminate(processes)
        if self._child is not None:
            self._child.wait()
            self._child = None
        with suppress(OSError):
            (self.directory / _HOLDER_FILE).unlink(missing_ok=True)
            self.directory.rmdir()
        return len(inside)

    def _start_holder(self) -> ProcessId:
        unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
        child = subprocess.Popen(
            [*unshare, "--", "sh", "-c", _INSIDE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            env={**os.environ, HOLDER_VARIABLE: self._mark},
        )
        assert child.stdout is not None
        with child.stdout as stdout:
            said = stdout.readline().decode(errors="replace").strip()
            process = ProcessId.of(child.pid)
            if said == "ready" and process is not None:
                self._child = child
                return process
        child.kill()
        child.wait()
        raise PrivilegeError(
            "a lab needs root, or a kernel that lets you make a user namespace; this one does not"
            f" ({said or 'no reason given'}): run it with sudo, or see the sysctls"
            " user.max_user_namespaces, kernel.unprivileged_userns_clone and"
            " kernel.apparmor_restrict_unprivileged_userns"
        )

    def _claim_directory(self) -> None:
        """/tmp is everybody's: a folder there that another user made is not used."""
        with suppress(FileExistsError):
            self.directory.mkdir(mode=0o700, parents=True)
        status = os.lstat(self.directory)
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise LabError(f"{self.directory} belongs to somebody else: set {DIRECTORY_VARIABLE}")


def _holder_directory(names: LabNames) -> Path:
    if chosen := os.environ.get(DIRECTORY_VARIABLE):
        return Path(chosen).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.W_OK):
        return Path(runtime, names.prefix)
    return Path("/tmp", f"{names.prefix}-{os.geteuid()}")


def _wait_past_interrupts(child: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue


def end_user_namespace(namespace: UserNamespace) -> int:
    """``UserNamespace.end`` for callers without a loop."""
    return asyncio.run(namespace.end())
