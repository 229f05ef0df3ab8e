"""A script that keeps one server: run as ``supervisor.py PARENT LOG PROGRAM ARGUMENT...``.

Tests may kill and restart a server that they share, while the tests' process keeps the same child:
this one. Reads lines: ``start`` answers with the server's process id, ``end`` kills it and answers
when it is gone, ``poll`` answers ``running`` or ``ended``. It ends with its parent or its input,
and the server with it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _start(log: str, command: list[str]) -> int:
    me = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    _die_with(me)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    try:
        os.execv(command[0], command)
    finally:
        os._exit(127)


def _gone(pid: int, how: int = 0) -> bool:
    try:
        return os.waitpid(pid, how)[0] == pid
    except ChildProcessError:
        return True


def main() -> None:
    """Serve until the input ends."""
    parent, log, *command = sys.argv[1:]
    _die_with(int(parent))
    os.setsid()
    pid = 0
    for line in sys.stdin:
        answer = "ended"
        if line == "start\n":
            pid = _start(log, command)
            answer = str(pid)
        elif line == "end\n" and pid:
            if not _gone(pid, os.WNOHANG):
                os.kill(pid, signal.SIGKILL)
                _gone(pid)
            pid = 0
        elif line == "poll\n" and pid:
            if _gone(pid, os.WNOHANG):
                pid = 0
            else:
                answer = "running"
        print(answer, flush=True)
    if pid and not _gone(pid, os.WNOHANG):
        os.kill(pid, signal.SIGKILL)
        _gone(pid)


if __name__ == "__main__":
    main()
