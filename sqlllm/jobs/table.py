"""Rows as a table of text, which fits the terminal if it is for one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, zip_longest
from typing import TextIO

from sqlllm.html import VISIBLE

SHOWN = 1000
"""Rows of a table; the other formats have all."""

FLAT = VISIBLE | {ord("\n"): 0x240A, ord("\t"): 0x2409}
"""As `VISIBLE`, for a text on one line."""

NARROW = 8
"""Characters that each column gets, or all that it needs, before columns are left out."""

FRAME = 4
"""Lines of a table that hold no row."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?|-?(nan|inf)")

BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"

Row = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: On one line.
        values: None is NULL.
        needed: Characters of the longest line.
        numbers: Whether all values are numbers, which stand on the right.
    """

    name: str
    values: Row
    needed: int
    numbers: bool

    @classmethod
    def of(cls, name: str, values: Row) -> Column:
        """Measured."""
        from rich.cells import cell_len

        name = name.translate(FLAT)
        needed = max(cell_len(line) for text in (name, *values) for line in _lines(text))
        known = [value for value in values if value is not None]
        return cls(name, values, needed, bool(known) and all(map(NUMBER.fullmatch, known)))


def write(
    names: Sequence[str],
    rows: Iterator[Row],
    to: TextIO,
    *,
    screen: os.terminal_size | None = None,
    shown: int = SHOWN,
    rest: str = "`--output csv` writes all",
) -> None:
    """Write a table.

    On a screen, the widest columns give up width, then columns in the middle are left out. Texts
    are wrapped as far as all rows fit the screen, and cut with an ellipsis there. A single row is
    always whole.

    Args:
        names: Of the columns.
        rows: Their values; None is NULL.
        to: Where to.
        screen: Its size; None: as wide as it takes.
        shown: Most rows.
        rest: How to get what is left out.
    """
    kept = list(islice(rows, shown))
    all_rows = len(kept) + sum(1 for _ in rows)
    columns = [Column.of(name, [row[i] for row in kept]) for i, name in enumerate(names)]
    left = _left(columns, screen.columns) if screen else columns
    parts = [f"{len(kept):,} of {all_rows:,} rows"] if all_rows > len(kept) else []
    if len(left) < len(columns):
        parts.append(f"{len(left):,} of {len(columns):,} columns")
        left.insert((len(left) + 1) // 2, Column("…", ["…"] * len(kept), 1, numbers=False))
    _draw(left, to, screen)
    if parts:
        to.write(f"{', '.join(parts)}; {rest}\n")


def share(needs: Sequence[int], room: int) -> int:
    """The most that each may have so that all fit: the large ones give up first.

    Example:
        >>> share([3, 20, 50], 43)  # 3 + 20 + 20
        20
        >>> share([3, 20, 50], 2)
        1
    """
    if sum(needs) <= room:
        return max(needs, default=1)
    fits = (n for n in range(room, 0, -1) if sum(min(need, n) for need in needs) <= room)
    return next(fits, 1)


def _lines(value: str | None) -> list[str]:
    """A value as it stands in a table that is as wide as it takes."""
    return ["NULL"] if value is None else value.translate(VISIBLE).expandtabs().split("\n")


def _left(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that there is room for, from both ends."""
    left = list(columns)
    while len(left) > 1:
        gap = 4 if len(left) < len(columns) else 0
        if sum(min(column.needed, NARROW) + 3 for column in left) + 1 + gap <= width:
            break
        del left[len(left) // 2]
    return left


def _draw(columns: Sequence[Column], to: TextIO, screen: os.terminal_size | None) -> None:
    from rich.cells import cell_len

    rows = list(zip(*(column.values for column in columns), strict=True))
    widths = [column.needed for column in columns]
    if screen is None:
        cells = [list(map(_lines, row)) for row in rows]
    else:
        widest = share(widths, screen.columns - 3 * len(columns) - 1)
        widths = [min(width, widest) for width in widths]
        cells = _fitted(rows, widths, screen.lines)
    styled = screen is not None and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")

    def padded(text: str, i: int, style: str) -> str:
        space = " " * (widths[i] - cell_len(text))
        text = f"{style}{text}{PLAIN}" if styled and style else text
        return space + text if columns[i].numbers else text + space

    def frame(left: str, line: str, middle: str, right: str) -> str:
        return left + middle.join(line * (width + 2) for width in widths) + right + "\n"

    names = [padded(_cut(c.name, widths[i]), i, BOLD) for i, c in enumerate(columns)]
    to.write(frame("┏", "━", "┳", "┓") + f"┃ {' ┃ '.join(names)} ┃\n" + frame("┡", "━", "╇", "┩"))
    for row, lines in zip(rows, cells, strict=True):
        styles = [DIM if value is None else "" for value in row]  # not the text 'NULL'
        for texts in zip_longest(*lines, fillvalue=""):
            line = map(padded, texts, count(), styles)
            to.write(f"│ {' │ '.join(line)} │\n")
    to.write(frame("└", "─", "┴", "┘"))


def _fitted(rows: Sequence[Row], widths: Sequence[int], height: int) -> list[list[list[str]]]:
    """The lines of each value, as far as there is room for them."""
    if len(rows) <= height:
        wrapped = [[_wrapped(v, w) for v, w in zip(row, widths, strict=True)] for row in rows]
        heights = [max(map(len, cells)) for cells in wrapped]
        most = max(heights) if len(rows) == 1 else share(heights, height - FRAME)
        if most > 1:
            return [
                [_cut_lines(cell, most, w) for cell, w in zip(cells, widths, strict=True)]
                for cells in wrapped
            ]
    return [[[_flat(v, w)] for v, w in zip(row, widths, strict=True)] for row in rows]


def _wrapped(value: str | None, width: int) -> list[str]:
    from rich.console import Console
    from rich.text import Text

    lines = Text("\n".join(_lines(value))).wrap(Console(), width)
    return [line.plain for line in lines] or [""]


def _flat(value: str | None, width: int) -> str:
    """A value on one line; of a long one, only what may be seen is looked at."""
    return _cut("NULL" if value is None else value[: 8 * width + 8].translate(FLAT), width)


def _cut(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _cut_lines(lines: list[str], most: int, width: int) -> list[str]:
    """At most so many, with an ellipsis where there were more."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], _cut(f"{lines[most - 1].rstrip()}…", width)]
