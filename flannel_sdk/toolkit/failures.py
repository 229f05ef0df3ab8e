"""Failures as their one cause: what leaves a task group is never an ExceptionGroup."""

from collections.abc import Iterator
from contextlib import contextmanager

from flannel_sdk.errors import PermanentError


@contextmanager
def single_cause() -> Iterator[None]:
    """Around a TaskGroup: raise what went wrong as itself.

    Of several causes a PermanentError wins, then the first; the others are added to it as notes.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        causes = list(_leaves(group))
        chosen = next((cause for cause in causes if isinstance(cause, PermanentError)), causes[0])
        for other in causes:
            if other is not chosen:
                chosen.add_note(f"at the same time: {type(other).__name__}: {other}")
        raise chosen from chosen.__cause__


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
