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
    """Raise one cause of an exception group instead of the group, which is its context.

    Where several tasks failed together, a PermanentError goes before the first.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        causes = leaves(group)
        permanent = [error for error in causes if isinstance(error, PermanentError)]
        raise (permanent or causes)[0] from group
