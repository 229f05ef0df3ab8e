"""JSON as Go's encoding/json reads and writes it: what flannel's two documents depend on.

Reading: keys match in any case, an unknown key is ignored, a later duplicate wins, trailing data is
refused, and the text of an embedded value can be kept as it is. Writing: ``<``, ``>``, ``&``,
U+2028 and U+2029 are escaped, other characters are raw, nothing is indented.
"""

import json
import re
from json import JSONDecoder
from typing import NamedTuple


class Number(NamedTuple):
    """A number with a fraction or an exponent; Go puts none of them into an integer."""

    text: str


class Members(NamedTuple):
    """A JSON object with its members in document order, duplicates included."""

    pairs: tuple[tuple[str, object], ...]


_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}
_ESCAPED = re.compile("[<>&\u2028\u2029]")
_BLANK = re.compile(r"[ \t\r\n]*")
_STRING_OR_BLANKS = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: list[tuple[str, object]]) -> Members:
    return Members(tuple((_LONE_SURROGATE.sub("\ufffd", key), value) for key, value in pairs))


_DECODER = JSONDecoder(
    object_pairs_hook=_members, parse_float=Number, parse_constant=_refuse_constant
)


def to_text(document: str | bytes) -> str:
    """The document as text; bytes that are not UTF-8 become U+FFFD, as in Go."""
    return document if isinstance(document, str) else document.decode("utf-8", "replace")


def read(document: str | bytes) -> object:
    """One JSON value and nothing after it; ValueError otherwise.

    Objects come as ``Members``, numbers that are no integers as ``Number``, integers as ``int``.
    """
    text = to_text(document)
    value, end = _raw_decode(text, _skip_blanks(text, 0))
    _refuse_trailing(text, end)
    return value


def read_members_raw(document: str | bytes) -> list[tuple[str, str]]:
    """The members of a JSON object, each value as its own compact JSON text.

    ValueError if the document is anything else.
    """
    text = to_text(document)
    at = _skip_blanks(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("it is not a JSON object")
    members: list[tuple[str, str]] = []
    at = _skip_blanks(text, at + 1)
    if text[at : at + 1] == "}":
        _refuse_trailing(text, at + 1)
        return members
    while True:
        if text[at : at + 1] != '"':
            raise ValueError(f"a key was expected at character {at}")
        key, at = _raw_decode(text, at)
        at = _skip_blanks(text, at)
        if text[at : at + 1] != ":":
            raise ValueError(f"a colon was expected at character {at}")
        start = _skip_blanks(text, at + 1)
        _, end = _raw_decode(text, start)
        members.append((_LONE_SURROGATE.sub("\ufffd", str(key)), compact(text[start:end])))
        at = _skip_blanks(text, end)
        separator = text[at : at + 1]
        if separator == "}":
            _refuse_trailing(text, at + 1)
            return members
        if separator != ",":
            raise ValueError(f"a comma was expected at character {at}")
        at = _skip_blanks(text, at + 1)


def compact(text: str) -> str:
    """Valid JSON text without the blanks between its tokens."""
    return _STRING_OR_BLANKS.sub(lambda match: match[1] or "", text)


def embed(text: str) -> str:
    """JSON text as Go embeds a raw message: validated, compact, HTML-escaped; else ValueError."""
    read(text)
    return _escape(compact(text))


def quote(text: str) -> str:
    """A JSON string as Go writes it."""
    clean = _LONE_SURROGATE.sub("\ufffd", text)
    quoted = json.dumps(clean, ensure_ascii=False)
    # Go has no short form for these two.
    quoted = re.sub(r"\\(?:[bf]|.)", _without_short_form, quoted)
    return _escape(quoted)


def folded(key: str) -> str:
    """The key in the form in which two keys are compared."""
    return key.casefold()


def plain(value: object) -> object:
    """A value of ``read`` in Python's own types; a later duplicate member wins."""
    if isinstance(value, Members):
        return {key: plain(inner) for key, inner in value.pairs}
    if isinstance(value, Number):
        return float(value.text)
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return _LONE_SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], text)


def _without_short_form(match: re.Match[str]) -> str:
    return {"\\b": "\\u0008", "\\f": "\\u000c"}.get(match[0], match[0])


def _raw_decode(text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    assert match is not None  # the pattern matches the empty string
    return match.end()


def _refuse_trailing(text: str, at: int) -> None:
    end = _skip_blanks(text, at)
    if end != len(text):
        raise ValueError(f"there is something after the JSON value, at character {end}")
