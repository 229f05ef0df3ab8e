"""Running a kit without knowing pytest: a line for each requirement, no traceback."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flannel_sdk.errors import PermanentError

if TYPE_CHECKING:
    import pytest

    from flannel_sdk.testing.kit.results import Results, Status

_SUITE = Path(__file__).parent / "suite"
_SHOWN = {"broken": "BROKEN"}
_GROUPED: tuple["Status", ...] = ("does not apply", "left out")
"""Those whose reasons are said once, at the end."""


class Request(NamedTuple):
    """Whom to judge, and how."""

    kit: str
    """``backend`` or ``subnet-manager``."""
    name: str
    level: int = 3
    options: Sequence[str] = ()
    """``KEY=VALUE``."""
    dataplane: bool = True
    reports: Sequence[str] = ()
    verbose: bool = False

    def arguments(self) -> Iterator[str]:
        """pytest's; nothing of the folder that it is run in, nor of other plugins, has a say."""
        yield from ("--disable-plugin-autoload", "-p", "flannel_sdk.testing.pytest_plugin")
        yield from ("-p", "no:terminal", "-p", "no:cacheprovider", "--noconftest")
        yield from ("-c", os.devnull, f"--rootdir={_SUITE}")
        yield f"--flannel-{self.kit}={self.name}"
        yield f"--flannel-level={self.level}"
        yield from (f"--flannel-option={option}" for option in self.options)
        yield from (f"--flannel-report={report}" for report in self.reports)
        if not self.dataplane:
            yield "--flannel-no-dataplane"
        yield str(_SUITE)


def judge(request: Request) -> int:
    """Print what becomes of each requirement; 0 if none is broken, else 1, 2 for wrong usage.

    PermanentError where pytest is not installed.
    """
    try:
        import pytest
    except ImportError as error:
        raise PermanentError(
            "the conformance kits need pytest: pip install 'flannel-sdk[testing]'"
        ) from error
    printer = _Printer(request.verbose)
    code = pytest.main(list(request.arguments()), plugins=[printer])
    if code == pytest.ExitCode.USAGE_ERROR:
        return 2
    return 0 if code == pytest.ExitCode.OK else 1


class _Printer:
    """Says each verdict as it comes, and the sum at the end."""

    def __init__(self, verbose: bool) -> None:
        self._verbose = verbose
        self._results: Results | None = None

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        """Print the verdict once a test is over."""
        from flannel_sdk.testing.kit.results import Results

        if self._results is None:
            self._results = Results()
        self._results.add(report)
        if self._verbose and report.outcome == "failed":
            print(report.longreprtext)
        if report.when == "teardown" and (found := self._results.verdict(report)) is not None:
            stated, outcome = found
            print(f"{stated.id}  {_SHOWN.get(outcome.status, outcome.status):<16}{stated.title}")
            if outcome.reason and outcome.status not in _GROUPED:
                print(f"{'':22}{outcome.reason}")
            sys.stdout.flush()

    def pytest_collectreport(self, report: "pytest.CollectReport") -> None:
        """Print why there is nothing to run."""
        if report.outcome == "failed":
            print(report.longreprtext, file=sys.stderr)

    def pytest_sessionfinish(self) -> None:
        """Print the sum."""
        for subject in self._results.subjects.values() if self._results is not None else ():
            for status in _GROUPED:
                for line in subject.grouped(status):
                    print(line)
            print(subject.headline())
