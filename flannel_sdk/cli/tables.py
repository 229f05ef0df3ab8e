"""The one table printer, and the one JSON printer, of all commands."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

GAP = "  "
LAST_COLUMN = 20


class Column(NamedTuple):
    """A heading; ``right`` for numbers."""

    heading: str
    right: bool = False


def print_table(
    columns: Sequence[str | Column],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    file: TextIO | None = None,
) -> None:
    """Print ``rows`` under ``columns``, to stdout by default.

    On a terminal through rich, folded to its width. Elsewhere as plain text, one line a row, never
    shortened. None is printed as ``-``, a float to three decimals. Characters that could steer a
    terminal are shown escaped, since a cell may come from a store that others write.
    """
    out = sys.stdout if file is None else file
    heads = [Column(column) if isinstance(column, str) else column for column in columns]
    cells = [[_cell(value) for value in row] for row in rows]
    if out.isatty():
        _print_rich(heads, cells, title, out)
    else:
        _print_plain(heads, cells, title, out)


def print_json(value: object, *, file: TextIO | None = None) -> None:
    """Print ``value`` as indented JSON for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False), file=file)


def remaining(expires_at: float | None, *, permanent: bool) -> str:
    """When a lease ends: ``in 23 h``, ``in 5 min``, ``expired``, ``never``, ``unknown``.

    ``expires_at`` is a Unix time; None where it is not known, or there is none.
    """
    if permanent:
        return "never"
    if expires_at is None:
        return "unknown"
    seconds = expires_at - time.time()
    if seconds < 0:
        return "expired"
    if seconds < 3600:
        return f"in {seconds / 60:.0f} min"
    return f"in {seconds / 3600:.0f} h"


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            text = f"{value:.3f}".rstrip("0").rstrip(".")
        case _:
            text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _print_plain(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str | None, out: TextIO
) -> None:
    if title is not None:
        print(title, file=out)
    lines = [[column.heading.upper() for column in columns], *rows]
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        )
        print(GAP.join(padded).rstrip(), file=out)


def _print_rich(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str | None, out: TextIO
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=out)
    # Only the last column, mostly a sentence, is folded as long as that leaves it room to be read.
    short = sum(
        max(map(len, (column.heading, *(row[i] for row in rows)))) + 2
        for i, column in enumerate(columns[:-1])
    )
    keep = short + LAST_COLUMN <= console.width
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(
            Text(column.heading.upper()),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=keep and i < len(columns) - 1,
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
