"""Log lines: one a fact, in either form; what repeats is said once and then counted."""

import json
import logging
import sys

import pytest

from flannel_sdk.cli.log_format import JsonLines, SaidOnce, TextLines


def record(
    message: str, *args: object, level: int = logging.WARNING, **more: object
) -> logging.LogRecord:
    made = logging.LogRecord("flannel_sdk.x", level, "x.py", 7, message, args, None)
    made.created = 1_700_000_000.1239
    vars(made).update(more)
    return made


def failed() -> logging.LogRecord:
    made = record("it is broken")
    try:
        raise KeyError("x")
    except KeyError:
        made.exc_info = sys.exc_info()
    return made


def test_a_line_of_text_is_keys_and_values() -> None:
    assert TextLines().format(record("peer %s has gone", "10.5.7.0/24")) == (
        "time=2023-11-14T22:13:20.123Z level=warning logger=flannel_sdk.x"
        ' msg="peer 10.5.7.0/24 has gone"'
    )
    assert TextLines().format(record("stopping", repeated=3)).endswith(" msg=stopping repeated=3")


@pytest.mark.parametrize(
    "message", ['he said "no"', "two\nlines", "a=b", "back\\slash", "\x1b[2J", ""]
)
def test_no_value_breaks_its_line(message: str) -> None:
    for made in (record(message), record("%s", message)):
        line = TextLines().format(made)
        assert "\n" not in line
        assert "\x1b" not in line
        assert json.loads(line.partition(" msg=")[2]) == message
        assert json.loads(JsonLines().format(made))["msg"] == message


def test_a_line_of_json_is_one_object() -> None:
    assert json.loads(JsonLines().format(record("é %d", 7, level=logging.INFO, repeated=2))) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "flannel_sdk.x",
        "msg": "é 7",
        "repeated": 2,
    }


def test_a_trace_is_in_the_same_line() -> None:
    line = TextLines().format(failed())
    assert "\n" not in line
    assert "KeyError: 'x'" in line
    trace = json.loads(JsonLines().format(failed()))["trace"]
    assert trace.startswith("Traceback (most recent call last):\n")


def test_a_warning_that_repeats_is_said_once_a_minute_with_its_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("flannel_sdk.cli.log_format.time.monotonic", lambda: now)
    once, passed = SaidOnce(), []
    for second in range(130):
        now = 1000.0 + second
        made = record("%s is down", "a")
        if once.filter(made):
            passed.append((second, getattr(made, "repeated", None)))
        assert once.filter(record("fine", level=logging.INFO))
    assert passed == [(0, None), (60, 59), (120, 59)]


def test_others_are_not_taken_for_it() -> None:
    once = SaidOnce()
    assert once.filter(record("%s is down", "a"))
    assert once.filter(record("%s is down", "b"))
    assert once.filter(record("%s is down", "a", level=logging.ERROR))
    assert not once.filter(record("%s is down", "b"))


def test_it_does_not_remember_for_ever() -> None:
    once = SaidOnce()
    for number in range(10_000):
        assert once.filter(record("%d is down", number))
    assert len(once._said) <= 512
