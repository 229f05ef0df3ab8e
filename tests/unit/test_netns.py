"""Working in a network namespace: one thread goes there, the process does not."""

import ctypes
import os
import socket
import threading

import pytest

from flannel_sdk.errors import PermanentError, PrivilegeError
from flannel_sdk.netns import enter_netns, run_in_netns
from flannel_sdk.testing.namespaces import Namespace


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def test_without_a_path_the_work_is_done_by_the_caller() -> None:
    assert run_in_netns(None, threading.current_thread) is threading.current_thread()


def test_a_missing_namespace_is_named_and_nothing_is_run() -> None:
    done: list[bool] = []
    with pytest.raises(PermanentError, match="no network namespace at /run/netns/flt-none"):
        run_in_netns("/run/netns/flt-none", lambda: done.append(True))
    assert done == []


@pytest.mark.root
def test_a_file_that_is_no_namespace_is_named() -> None:
    with pytest.raises(PermanentError, match="cannot enter the network namespace /proc/version"):
        run_in_netns("/proc/version", here)


@pytest.mark.root
def test_the_work_is_done_there_and_the_caller_stays(netns: Namespace) -> None:
    netns.add_veth("only-here0")
    before = here()
    inside, found = run_in_netns(netns.path, lambda: (here(), devices()))
    assert inside != before
    assert found >= {"lo", "only-here0"}
    assert here() == before
    assert "only-here0" not in devices()


@pytest.mark.root
def test_a_socket_stays_where_it_was_opened(netns: Namespace) -> None:
    netns.ip("address add 203.0.113.9/32 dev lo")
    with run_in_netns(netns.path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as made:
        made.bind(("203.0.113.9", 0))


@pytest.mark.root
def test_an_error_of_the_work_is_told_as_it_was(netns: Namespace) -> None:
    def fail() -> None:
        raise ZeroDivisionError("of the work")

    with pytest.raises(ZeroDivisionError, match="of the work"):
        run_in_netns(netns.path, fail)


@pytest.mark.root
def test_entering_without_rights_names_the_capability(netns: Namespace) -> None:
    failures: list[BaseException] = []

    def body() -> None:
        libc = ctypes.CDLL(None)
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
        try:
            enter_netns(netns.path)
        except PermanentError as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    (failure,) = failures
    assert isinstance(failure, PrivilegeError)
    assert "CAP_SYS_ADMIN" in str(failure)
    assert isinstance(failure.__cause__, PermissionError)
