"""Task groups whose one failure is raised as itself, so that callers catch it by its class."""

from collections.abc import Iterator
from contextlib import contextmanager

from flannel_sdk.errors import PermanentError


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions inside ``group`` and its subgroups, in order."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


@contextmanager
def single_error() -> Iterator[None]:
    """Around a TaskGroup: raise what went wrong as itself, with its own cause.

    Where several tasks failed together, a PermanentError goes before the first; the others are
    added to it as notes.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        causes = leaves(group)
        chosen = next((cause for cause in causes if isinstance(cause, PermanentError)), causes[0])
        for other in causes:
            if other is not chosen:
                chosen.add_note(f"at the same time: {type(other).__name__}: {other}")
        raise chosen from chosen.__cause__
