"""What leaves a task group: one error, the one that somebody has to act on."""

import pytest

from flannel_sdk.errors import KernelRefused, PrivilegeError
from flannel_sdk.task_groups import single_error


def fail(*errors: Exception) -> None:
    with single_error():
        raise ExceptionGroup("several", [ExceptionGroup("inner", errors[:1]), *errors[1:]])


def test_a_single_error_is_itself_with_its_own_cause() -> None:
    root = OSError("root")
    error = KernelRefused("refused", 5)
    error.__cause__ = root
    with pytest.raises(KernelRefused) as caught:
        fail(error)
    assert caught.value is error
    assert caught.value.__cause__ is root


def test_the_permanent_one_of_several_wins_and_tells_of_the_others() -> None:
    with pytest.raises(PrivilegeError) as caught:
        fail(KernelRefused("refused", 5), PrivilegeError("no right"), ValueError("odd"))
    assert caught.value.__notes__ == [
        "at the same time: KernelRefused: refused",
        "at the same time: ValueError: odd",
    ]


def test_else_the_first_wins() -> None:
    with pytest.raises(ValueError, match="odd"):
        fail(ValueError("odd"), KernelRefused("refused", 5))


def test_what_is_no_group_passes() -> None:
    with pytest.raises(KeyError), single_error():
        raise KeyError("x")
