"""The kits' frame: requirements cannot be got rid of, marks need reasons, results are counted."""

import json

import pytest

SMALL_KIT = """
from flannel_sdk.testing.kit.conformance import Conformance
from flannel_sdk.testing.kit.requirements import requirement
from flannel_sdk.testing.kit.verdicts import does_not_apply, held, leave_out


class SmallKit(Conformance, kit="small"):
    healthy = True
    applies = True
    rights = True

    @requirement("S001", "It is healthy", why="Others depend on it.")
    def test_healthy(self):
        held(self.healthy, "it coughs")

    @requirement("S101", "It sleeps", why="Time passes.")
    async def test_sleeps(self, pytestconfig):
        import asyncio
        await asyncio.sleep(0)
        held(self.healthy, "it stays up")

    @requirement("S102", "It swims", why="Floods.")
    def test_swims(self):
        if not self.applies:
            does_not_apply("it has no fins")

    @requirement("S201", "It digs", why="Roots.")
    def test_digs(self):
        if not self.rights:
            leave_out("no spade: buy one")
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a kit of four requirements."""
    from flannel_sdk.testing.kit import results

    monkeypatch.setitem(results.KITS, "small", ("small_kit", "SmallKit"))
    pytester.syspathinsert()
    pytester.makepyfile(small_kit=SMALL_KIT)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the others take a second to load
    return pytester


def run(project: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    """Run ``class TestIt(SmallKit)`` with this body."""
    lines = "\n    ".join(body.splitlines() or ["pass"])
    project.makepyfile(test_it=f"from small_kit import *\nclass TestIt(SmallKit):\n    {lines}\n")
    ours = ("-p", "flannel_sdk.testing.pytest_plugin", "-p", "no:cacheprovider", "-W", "error")
    return project.runpytest_inprocess(*ours, *arguments)


def test_all_is_counted(project: pytest.Pytester) -> None:
    result = run(project, "applies = False")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["small TestIt: requirements held: 3 of 3 (1 does not apply)"])


def test_what_does_not_hold_is_said_in_a_sentence(project: pytest.Pytester) -> None:
    result = run(project, "healthy = False")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "S001 does not hold: It is healthy. it coughs",
            "S101 does not hold: It sleeps. it stays up",
            "small TestIt: requirements held: 2 of 4 (2 broken)",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_what_is_left_out_counts_and_is_said_once(project: pytest.Pytester) -> None:
    result = run(project, "rights = False")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "small TestIt: left out: S201: no spade: buy one",
            "small TestIt: requirements held: 3 of 4 (1 left out)",
        ]
    )


def test_a_level_asks_for_less(project: pytest.Pytester) -> None:
    result = run(project, "", "--flannel-level", "0")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["small TestIt: requirements held: 1 of 1"])


def test_what_the_command_line_leaves_out_is_not_held(project: pytest.Pytester) -> None:
    result = run(project, "", "-k", "healthy")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["small TestIt: requirements held: 1 of 4 (3 not run)"])


def test_a_known_failure_is_marked_with_a_reason(project: pytest.Pytester) -> None:
    marks = 'healthy = False\nexpected_failures = {"S001": "old age", "S101": "old age"}'
    result = run(project, marks)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*requirements held: 2 of 4 (2 expected failure)"])


def test_a_mark_goes_when_the_requirement_holds(project: pytest.Pytester) -> None:
    result = run(project, 'expected_failures = {"S001": "old age"}')
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*requirements held: 3 of 4 (1 broken)"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def test_swims(self): pass", "TestIt overrides or removes test_swims, the test of S102"),
        ("test_swims = None", "TestIt overrides or removes test_swims, the test of S102"),
        ('expected_failures = {"S001": ""}', "expected_failures gives no reason for S001"),
        ('expected_failures = {"S009": "x"}', "no requirement has that id"),
        ("def play(self, requirement, work): work.close()", "TestIt overrides play, which belongs"),
        ("def judging(self, requirement): pass", "TestIt overrides judging, which belongs"),
        ("kit = None", "TestIt overrides kit, which belongs"),
    ],
)
def test_a_subclass_cannot_change_what_is_asked(
    project: pytest.Pytester, body: str, said: str
) -> None:
    result = run(project, body)
    assert result.ret == 2
    result.stdout.fnmatch_lines([f"*TypeError: *{said}*"])


def test_a_class_changed_later_is_refused(project: pytest.Pytester) -> None:
    project.makeconftest(
        "import small_kit\ndef pytest_collection_finish(): pass\n"
        "def pytest_pycollect_makeitem(collector, name, obj):\n"
        "    if name == 'TestIt': obj.test_swims = lambda self: None\n"
    )
    result = run(project, "")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*overrides or removes test_swims, the test of S102*"])


def test_a_hook_cannot_take_a_test_away(project: pytest.Pytester) -> None:
    project.makeconftest("def pytest_collection_modifyitems(items): items[:] = items[:1]")
    result = run(project, "")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*taken away by a hook*"])


def test_a_skip_mark_fails_the_run(project: pytest.Pytester) -> None:
    result = run(project, "import pytest\npytestmark = pytest.mark.skip('not today')")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*requirements held: 0 of 4 (4 skipped)",
            "*S001, S101, S102, S201 skipped by a mark or a fixture*",
        ]
    )


def test_the_report_is_written_by_suffix(project: pytest.Pytester) -> None:
    result = run(
        project, "healthy = False", "--flannel-report", "all.json", "--flannel-report", "all.md"
    )
    assert result.ret == 1
    report = json.loads((project.path / "all.json").read_text())
    (subject,) = report["subjects"]
    assert (subject["kit"], subject["name"]) == ("small", "TestIt")
    assert (subject["held"], subject["of"]) == (2, 4)
    assert [row["id"] for row in subject["requirements"]] == ["S001", "S101", "S102", "S201"]
    assert subject["requirements"][0] == {
        "id": "S001",
        "title": "It is healthy",
        "level": 0,
        "why": "Others depend on it.",
        "status": "broken",
        "reason": "S001 does not hold: It is healthy. it coughs",
    }
    page = (project.path / "all.md").read_text()
    assert "| S201 | It digs | 2 | held |" in page


@pytest.mark.parametrize(
    ("name", "said"), [("all.txt", "end in .json or .md"), ("no/all.md", "no such folder")]
)
def test_a_report_that_cannot_be_written_is_refused_at_once(
    project: pytest.Pytester, name: str, said: str
) -> None:
    result = run(project, "", "--flannel-report", name)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{said}*"])
