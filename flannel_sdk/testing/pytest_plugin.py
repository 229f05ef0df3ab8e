"""The pytest plugin of the conformance kits: options, and hooks that cost nothing without a kit.

pytest loads this file in every project where flannel_sdk is installed, so it imports the kits
only once a test of theirs is there.
"""

import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flannel_sdk.testing.kit.results import Results

_SUITE = Path(__file__).parent / "suite"
_FILES = {"test_backend.py": "flannel_backend", "test_subnet_manager.py": "flannel_subnet_manager"}
_NAMED = {
    "flannel_backend": "flannel_sdk.backends",
    "flannel_subnet_manager": "flannel_sdk.subnet_managers",
}
_DESELECTED = pytest.StashKey[set[str]]()
_UNNAMED = pytest.StashKey[bool]()
_RESULTS: "pytest.StashKey[Results]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("flannel-sdk", "conformance kits of flannel_sdk")
    group.addoption(
        "--flannel-backend",
        metavar="NAME",
        help="judge this installed backend: pytest --pyargs flannel_sdk.testing.suite",
    )
    group.addoption(
        "--flannel-subnet-manager", metavar="NAME", help="judge this installed store, likewise"
    )
    group.addoption(
        "--flannel-option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the backend (its value JSON or text) or of the store; repeatable",
    )
    group.addoption(
        "--flannel-no-dataplane",
        action="store_true",
        help="the backend leases a subnet, and puts nothing into the kernel",
    )
    group.addoption(
        "--flannel-level",
        metavar="N",
        type=int,
        default=3,
        choices=range(4),
        help="the highest level: 0 loads, 1 needs no root, 2 one namespace, 3 two nodes (default)",
    )
    group.addoption(
        "--flannel-report",
        metavar="FILE",
        action="append",
        default=[],
        help="write what holds to FILE, as JSON (.json) or Markdown (.md); repeatable",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and refuse a report that cannot be written before anything runs."""
    config.addinivalue_line(
        "markers", "flannel_root: a requirement of level 2 or 3, which needs namespaces"
    )
    config.stash[_DESELECTED] = set()
    if not hasattr(config, "workerinput"):  # pytest-xdist's workers send their reports
        config.pluginmanager.register(Judge(config), "flannel-sdk-judge")
    for text in config.getoption("flannel_report"):
        path = Path(text)
        if path.suffix not in {".json", ".md"}:
            raise pytest.UsageError(f"--flannel-report {text}: the name has to end in .json or .md")
        if not path.absolute().parent.is_dir():
            raise pytest.UsageError(f"--flannel-report {text}: there is no such folder")
    for text in config.getoption("flannel_option"):
        if not text.partition("=")[0] or "=" not in text:
            raise pytest.UsageError(f"--flannel-option {text}: it has to be KEY=VALUE")
    for option, kind in _NAMED.items():
        if (name := config.getoption(option)) is not None:
            _refuse_unknown(kind, name)


def _refuse_unknown(group: str, name: str) -> None:
    from flannel_sdk.engine import discovery
    from flannel_sdk.errors import PluginError

    if name.lower() not in discovery.plugin_names(group):
        try:
            discovery.load_plugin(group, name)
        except PluginError as error:
            raise pytest.UsageError(str(error)) from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out that half of the suite that no option asks for."""
    option = _FILES.get(collection_path.name) if collection_path.parent == _SUITE else None
    if option is None:
        return None
    if not any(config.getoption(name) for name in _FILES.values()):
        config.stash[_UNNAMED] = True
    return None if config.getoption(option) else True


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the suite also where a project's ``python_files`` names other files."""
    if file_path.parent != _SUITE or file_path.name not in _FILES:
        return None
    patterns: list[str] = parent.config.getini("python_files")
    if any(file_path.match(pattern) for pattern in patterns):
        return None
    return pytest.Module.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Let nobody take away a requirement."""
    if config.stash.get(_UNNAMED, False):
        raise pytest.UsageError(
            "the suite needs to know whom to judge: --flannel-backend NAME or"
            " --flannel-subnet-manager NAME"
        )
    if "flannel_sdk.testing.kit.conformance" not in sys.modules:
        return (yield)
    from flannel_sdk.testing.kit.collecting import check_nothing_removed, prepare

    before = prepare(config, items)
    yield
    check_nothing_removed(before, items, config.stash[_DESELECTED])
    return None


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Remember what the command line left out."""
    for item in items:
        item.config.stash[_DESELECTED].add(item.nodeid)


class Judge:
    """Takes down what becomes of each requirement; there is one in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down one phase of one test."""
        if any(key == "flannel_requirement" for key, _ in report.user_properties):
            if _RESULTS not in self.config.stash:
                from flannel_sdk.testing.kit.results import Results

                self.config.stash[_RESULTS] = Results()
            self.config.stash[_RESULTS].add(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports; fail the run if requirements were skipped."""
        results = self.config.stash.get(_RESULTS, None)
        if results is None:
            return
        if results.skipped() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        from flannel_sdk.testing.kit.report_files import write_report

        for text in self.config.getoption("flannel_report"):
            write_report(Path(text), results.subjects.values())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many requirements are held."""
        results = self.config.stash.get(_RESULTS, None)
        if results is None:
            return
        for subject in results.subjects.values():
            for line in subject.grouped("left out"):
                terminalreporter.write_line(f"{subject.kit} {subject.name}: {line}")
            terminalreporter.write_line(f"{subject.kit} {subject.name}: {subject.headline()}")
        for line in results.skipped():
            terminalreporter.write_line(line, red=True)
