"""Seeing what a call does to the outside: sockets, processes, threads."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_EVENTS = {"socket.__new__": "a socket", "subprocess.Popen": "a process", "os.fork": "a process"}
_seen: list[str] | None = None
_thread = 0
_listening = False


def _listen(event: str, arguments: object) -> None:
    if _seen is not None and event in _EVENTS and threading.get_ident() == _thread:
        _seen.append(_EVENTS[event])


@contextmanager
def side_effects() -> Iterator[list[str]]:
    """What was opened or started within, by this thread, or by any for threads; one at a time."""
    global _seen, _thread, _listening  # noqa: PLW0603  # an audit hook is one a process, for good
    if not _listening:
        sys.addaudithook(_listen)
        _listening = True
    found: list[str] = []
    threads = set(threading.enumerate())
    _seen, _thread = found, threading.get_ident()
    try:
        yield found
    finally:
        _seen = None
        found += ["a thread" for thread in threading.enumerate() if thread not in threads]
