"""JSON as Go has it, against Python's own reader and by examples."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flannel_sdk.model import gojson

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_reading_gives_what_python_reads(value: object) -> None:
    text = json.dumps(value, indent=2)
    assert gojson.plain(gojson.read(text)) == value
    assert gojson.plain(gojson.read(f"\n\t {text} \r".encode())) == value


@given(JSON)
def test_compact_takes_away_blanks_between_tokens_only(value: object) -> None:
    spread = json.dumps(value, indent=3, ensure_ascii=False)
    assert gojson.compact(spread) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@given(st.text())
def test_quoted_text_reads_back_and_is_html_safe(text: str) -> None:
    quoted = gojson.quote(text)
    assert json.loads(quoted) == text
    assert not set(quoted) & set("<>&\u2028\u2029")


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_raw_members_are_the_members(value: dict[str, object]) -> None:
    text = json.dumps(value, indent=1)
    assert {key: json.loads(raw) for key, raw in gojson.read_members_raw(text)} == value


def test_duplicates_are_kept_in_order_and_the_last_wins_in_plain() -> None:
    members = gojson.read('{"a":1,"A":2,"a":3}')
    assert members == gojson.Members((("a", 1), ("A", 2), ("a", 3)))
    assert gojson.plain(members) == {"a": 3, "A": 2}
    assert gojson.read_members_raw('{"a":1.0,"a":[ 1 ]}') == [("a", "1.0"), ("a", "[1]")]


def test_numbers_that_are_no_integers_keep_their_text() -> None:
    assert gojson.read("[1,1.0,1e2,-0]") == [1, gojson.Number("1.0"), gojson.Number("1e2"), 0]
    assert gojson.plain(gojson.read("1.5")) == 1.5


def test_what_is_not_utf_8_becomes_the_replacement_character() -> None:
    assert gojson.read(b'"a\xffb"') == "a\ufffdb"
    assert gojson.plain(gojson.read(r'"\ud800"')) == "\ufffd"
    assert gojson.quote("\ud800") == '"\ufffd"'
    assert gojson.plain(gojson.read(r'{"\ud800":1}')) == {"\ufffd": 1}


BAD = ["", " ", "{", "[1,]", "{,}", "01", "+1", ".5", "1.", "NaN", "-Infinity", "'a'", '"\t"']
BAD += ['"\\x41"', "1 2", "[] []", "tru", "\x0b1", "//c\n1", "\ufeff1", "[" * 50_000]


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        gojson.read(text)
    with pytest.raises(ValueError, match=r"."):
        gojson.embed(text)


def test_keys_fold_as_in_go() -> None:
    assert (
        gojson.folded("SubnetLen") == gojson.folded("SUBNETLEN") == gojson.folded("\u017fubnetlen")
    )
    assert gojson.folded("Networ\u212a") == gojson.folded("network")
