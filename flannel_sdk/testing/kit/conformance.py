"""Conformance: the base of the kits, whose requirements can be marked but not changed."""

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import pytest

from flannel_sdk.testing.kit.requirements import Requirement, requirement_of
from flannel_sdk.testing.kit.running import play
from flannel_sdk.testing.kit.verdicts import Broken, Skipped


class Kit(NamedTuple):
    """A whole kit: its name and the test of each requirement, as they were defined."""

    name: str
    """``backend`` or ``subnet-manager``."""
    tests: Mapping[str, Callable[..., None]]
    """By the test's name, in order of ids."""

    @property
    def requirements(self) -> list[Requirement]:
        """All of them, by id."""
        return [
            stated for test in self.tests.values() if (stated := requirement_of(test)) is not None
        ]


class Conformance:
    """The base of each kit's class.

    A subclass of a kit adds fixtures and facts, and tests of its own. It cannot override or take
    away the test of a requirement: that is a TypeError as soon as the class is defined.
    """

    expected_failures: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """A reason for each id of a requirement that is known not to hold. It counts as not held; it
    fails the run only once it does hold, so that the mark goes."""

    kit: ClassVar[Kit | None] = None

    def __init_subclass__(cls, *, kit: str | None = None) -> None:
        """``kit``: the name of the kit that this class, with its bases, is the whole of."""
        super().__init_subclass__()
        if kit is not None and whole_kit(cls) is None:
            cls.kit = Kit(kit, MappingProxyType(_tests(cls)))
        elif (problem := tampering(cls)) is not None:
            raise TypeError(problem)

    @classmethod
    def subject_name(cls, config: pytest.Config) -> str:
        """Who is judged, for reports."""
        return cls.__name__

    def play(self, requirement: Requirement, work: Coroutine[object, object, None]) -> None:
        """Run the coroutine of a test; a kit may do it on another loop."""
        play(work)

    @contextmanager
    def judging(self, requirement: Requirement) -> Iterator[None]:
        """Tell pytest what a test's end means."""
        __tracebackhide__ = True
        try:
            yield
        except Skipped as verdict:
            skip(str(verdict))
        except Broken as verdict:
            _fail(f"{requirement.id} does not hold: {requirement.title}. {verdict}")
        except BaseExceptionGroup as group:
            broken, others = group.split(Broken)
            if broken is None or others is not None:
                raise
            first: BaseException = broken
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            _fail(f"{requirement.id} does not hold: {requirement.title}. {first}")


def skip(reason: str) -> None:
    """Skip from this file, by which results know that it was a kit that skipped."""
    pytest.skip(reason)


def _fail(sentence: str) -> None:
    __tracebackhide__ = True
    pytest.fail(sentence, pytrace=False)


def _tests(cls: type) -> dict[str, Callable[..., None]]:
    """The tests of a whole kit; TypeError where one hides another, or two have one id."""
    found: dict[str, tuple[str, Callable[..., None]]] = {}
    for part in cls.__mro__:
        for name, member in vars(part).items():
            stated = requirement_of(member)
            if stated is None or not callable(member):
                continue
            ids = {known for known, _ in found.values()}
            if name in found or stated.id in ids:
                raise TypeError(f"{part.__name__}.{name} for {stated.id} is there twice")
            found[name] = (stated.id, member)
    return {name: test for name, (_, test) in sorted(found.items(), key=lambda one: one[1][0])}


_FRAME = ("play", "judging", "kit")
"""What decides how a test ends, and which tests there are."""


def whole_kit(cls: type[Conformance]) -> type[Conformance] | None:
    """The class that a kit is the whole of, among ``cls`` and its bases."""
    for base in reversed(cls.__mro__):
        if issubclass(base, Conformance) and isinstance(vars(base).get("kit"), Kit):
            return base
    return None


def tampering(cls: type[Conformance]) -> str | None:
    """What a subclass of a kit changed that it must not, as a sentence; None if nothing."""
    whole = whole_kit(cls)
    if whole is None or whole.kit is None:
        return None
    kit = whole.kit
    for name in _FRAME:
        if inspect.getattr_static(cls, name) is not inspect.getattr_static(whole, name):
            return (
                f"{cls.__name__} overrides {name}, which belongs to the kit: facts, fixtures and"
                " expected_failures are what a subclass states"
            )
    for name, test in kit.tests.items():
        stated = requirement_of(test)
        if inspect.getattr_static(cls, name, None) is not test and stated is not None:
            return (
                f"{cls.__name__} overrides or removes {name}, the test of {stated.id}:"
                " a requirement can only be marked, in expected_failures"
            )
    known = {stated.id for stated in kit.requirements}
    for key, reason in cls.expected_failures.items():
        if key not in known:
            return f"{cls.__name__}.expected_failures names {key!r}: no requirement has that id"
        if not reason.strip():
            return f"{cls.__name__}.expected_failures gives no reason for {key}"
    return None
