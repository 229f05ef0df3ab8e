"""Working inside a network namespace: what a thread does, since the process stays where it is."""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from flannel_sdk.errors import PermanentError, PrivilegeError

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def enter_netns(path: str) -> None:
    """Move the calling thread, and no other, into the namespace at ``path`` for good.

    PrivilegeError without CAP_SYS_ADMIN; PermanentError where there is no such namespace.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise PermanentError(f"no network namespace at {path}: {error.strerror}") from error
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) == 0:
            return
        problem = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(descriptor)
    if isinstance(problem, PermissionError):
        raise PrivilegeError(
            f"entering the network namespace {path} needs CAP_SYS_ADMIN: run as root"
        ) from problem
    raise PermanentError(f"cannot enter the network namespace {path}: {problem.strerror}")


def run_in_netns(path: str | None, work: Callable[[], T]) -> T:
    """The result of ``work``, called in a thread of its own inside ``path``; blocks until done.

    With None it is called right here. Sockets that ``work`` opens stay in that namespace.
    """
    if path is None:
        return work()
    results: list[T] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            enter_netns(path)
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name=f"netns {path}")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
