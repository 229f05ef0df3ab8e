"""Tables: plain and complete in a pipe, folded on a terminal, harmless whatever a cell holds."""

import io

import pytest

from flannel_sdk.cli.tables import Column, print_json, print_table


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain(rows: list[tuple[object, ...]], title: str | None = None) -> list[str]:
    out = io.StringIO()
    print_table(["name", Column("peers", right=True), "state"], rows, title=title, file=out)
    return out.getvalue().splitlines()


def test_plain_columns_are_aligned() -> None:
    assert plain([("a", 5, "ok"), ("longer", 1234, "bad")], title="nodes") == [
        "nodes",
        "NAME    PEERS  STATE",
        "a           5  ok",
        "longer   1234  bad",
    ]


def test_nothing_is_a_dash_and_zero_is_zero() -> None:
    assert plain([(None, 0, "")])[1] == "-         0  -"


def test_numbers_and_truth_are_for_people() -> None:
    assert plain([(0.1 + 0.2, 5.0, True), (1e-9, 1795482833.1009, False)])[1:] == [
        "0.3                5  yes",
        "0     1795482833.101  no",
    ]


def test_a_table_without_rows_still_has_its_heading() -> None:
    assert plain([]) == ["NAME  PEERS  STATE"]


def test_plain_text_is_never_shortened() -> None:
    long = "x" * 5000
    assert plain([("a", 1, long)])[1].endswith(long)


@pytest.mark.parametrize("file", [io.StringIO, Terminal])
def test_a_cell_cannot_steer_the_terminal(file: type[io.StringIO]) -> None:
    out = file()
    print_table(["name"], [("a\x1b]0;title\x07b\nc",)], file=out)
    assert "\x1b]0" not in out.getvalue()
    assert r"a\x1b]0;title\x07b\nc" in out.getvalue()


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        plain([("a", 1)])


def test_a_terminal_gets_all_the_text_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = Terminal()
    print_table(["name", "state"], [("[bold]x", "abcdefghij" * 10)], file=out)
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 40 + len("\x1b[1m\x1b[0m") * 4
    assert "[bold]x" in shown
    assert shown.replace("\n", "").replace(" ", "").count("abcdefghij") == 10


def test_json_is_readable_by_people_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "ü"})
    assert capsys.readouterr().out == '{\n  "name": "ü"\n}\n'
