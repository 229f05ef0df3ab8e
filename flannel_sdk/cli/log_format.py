"""How a daemon's log lines look: one line a fact, as key=value or as an object of JSON."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime

SAY_AGAIN_SECONDS = 60.0
"""The same warning is said this often at most, and with it how often it was left out."""
_MOST_REMEMBERED = 512


class TextLines(logging.Formatter):
    """``time=.. level=.. logger=.. msg=".."``, then ``repeated=`` and ``trace=`` where they are."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; line breaks and quotes in a value are escaped."""
        return " ".join(f"{key}={_quoted(value)}" for key, value in _facts(self, record))


class JsonLines(logging.Formatter):
    """The same as an object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        return json.dumps(dict(_facts(self, record)), ensure_ascii=False)


class SaidOnce(logging.Filter):
    """Lets a warning pass once a minute and counts in between; what is none always passes."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}
        """When each was said last, and how often it was left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """False for what was said within the last minute."""
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, record.levelno, record.getMessage()), time.monotonic()
        said_at, left_out = self._said.get(key, (-SAY_AGAIN_SECONDS, 0))
        if now - said_at < SAY_AGAIN_SECONDS:
            self._said[key] = said_at, left_out + 1
            return False
        if left_out:
            record.repeated = left_out
        self._said.pop(key, None)
        self._said[key] = now, 0
        while len(self._said) > _MOST_REMEMBERED:
            del self._said[next(iter(self._said))]
        return True


def _facts(formatter: logging.Formatter, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    moment = datetime.fromtimestamp(record.created, UTC)
    yield "time", moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    yield "level", record.levelname.lower()
    yield "logger", record.name
    yield "msg", record.getMessage()
    repeated: int | None = getattr(record, "repeated", None)
    if repeated:
        yield "repeated", repeated
    if record.exc_info and record.exc_info[0] is not None:
        yield "trace", formatter.formatException(record.exc_info)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in ' "=\\')
    return text if plain else json.dumps(text, ensure_ascii=False)
