"""What a kit asks for: requirements with stable ids, each proved by one test."""

import functools
import inspect
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from flannel_sdk.testing.kit.conformance import Conformance

P = ParamSpec("P")
ConformanceT = TypeVar("ConformanceT", bound="Conformance")
_ID = re.compile(r"[A-Z][0-3][0-9]{2}")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a plugin has to hold."""

    id: str
    """A letter for the kit, the level, two digits: ``B103``. Never given to another requirement."""
    title: str
    """What holds, as a sentence without a full stop."""
    why: str
    """What goes wrong in a cluster where it does not hold; one or two sentences."""

    @property
    def level(self) -> int:
        """0: loads; 1: without root; 2: in a namespace or on a real server; 3: two nodes."""
        return int(self.id[1])


def requirement(
    requirement_id: str, title: str, *, why: str
) -> Callable[
    [Callable[Concatenate[ConformanceT, P], Coroutine[object, object, None] | None]],
    Callable[Concatenate[ConformanceT, P], None],
]:
    """Make a method of a kit the test of a requirement; a coroutine is run by ``Conformance.play``.

    The test is a plain function for pytest, so no plugin for coroutines has to be there, nor
    minds it.
    """
    if not _ID.fullmatch(requirement_id):
        raise ValueError(f"{requirement_id!r} is no requirement id such as B103")
    stated = Requirement(requirement_id, title, why)

    def decorate(
        test: Callable[Concatenate[ConformanceT, P], Coroutine[object, object, None] | None],
    ) -> Callable[Concatenate[ConformanceT, P], None]:
        @functools.wraps(test)
        def proof(self: ConformanceT, /, *args: P.args, **kwargs: P.kwargs) -> None:
            with self.judging(stated):
                work = test(self, *args, **kwargs)
                if inspect.iscoroutine(work):
                    self.play(stated, work)

        proof.__dict__["requirement"] = stated
        return proof

    return decorate


def requirement_of(function: object) -> Requirement | None:
    """The requirement that ``function`` is the test of."""
    stated = getattr(function, "__dict__", {}).get("requirement")
    return stated if isinstance(stated, Requirement) else None
