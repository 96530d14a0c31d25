"""Rows as a table of text, which fits the terminal if it is for one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from sqlllm.html import VISIBLE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

SHOWN = 1000
"""Rows of a table; the other formats have all."""

FLAT = VISIBLE | {ord("\n"): 0x240A, ord("\t"): 0x2409}
"""As `VISIBLE`, for a text on one line."""

NARROW = 8
"""Characters that each column gets, or all that it needs, before columns are left out."""

FRAME = 4
"""Lines of a table that hold no row."""

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?|-?(nan|inf)")

Row = Sequence[str | None]


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
    count = len(kept) + sum(1 for _ in rows)
    needed = [_needed(name, [row[i] for row in kept]) for i, name in enumerate(names)]
    left = _left(needed, screen.columns) if screen else list(range(len(names)))
    if len(left) < len(names):  # "…" stands for the others
        gap = (len(left) + 1) // 2
        names_left, needed = [names[i] for i in left], [needed[i] for i in left]
        names_left.insert(gap, "…")
        needed.insert(gap, 1)
        kept = [[*(row[i] for i in left[:gap]), "…", *(row[i] for i in left[gap:])] for row in kept]
    else:
        names_left = list(names)
    _draw(names_left, kept, needed, to, screen)
    parts = [f"{len(kept):,} of {count:,} rows"] if count > len(kept) else []
    parts += [f"{len(left):,} of {len(names):,} columns"] if len(left) < len(names) else []
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


def _needed(name: str, values: Sequence[str | None]) -> int:
    """Characters of the longest line."""
    from rich.cells import cell_len

    texts = ("NULL" if value is None else value for value in values)
    lines = (line for text in texts for line in text.translate(VISIBLE).expandtabs().split("\n"))
    return max(map(cell_len, [name.translate(FLAT), *lines]))


def _left(needed: Sequence[int], width: int) -> list[int]:
    """The columns that there is room for, from both ends."""
    left = list(range(len(needed)))
    while len(left) > 1:
        gap = 4 if len(left) < len(needed) else 0
        if sum(min(needed[i], NARROW) + 3 for i in left) + 1 + gap <= width:
            break
        del left[len(left) // 2]
    return left


def _draw(
    names: Sequence[str],
    rows: Sequence[Row],
    needed: Sequence[int],
    to: TextIO,
    screen: os.terminal_size | None,
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = screen.columns if screen else sum(needed) + 3 * len(names) + 1
    console = Console(file=to, width=width, force_terminal=screen is not None)
    widest = (
        share(needed, screen.columns - 3 * len(names) - 1) if screen else max(needed, default=1)
    )
    widths = [min(need, widest) for need in needed]
    wrapped = [
        [_wrapped(console, v, w) for v, w in zip(row, widths, strict=True)]
        for row in (rows if screen and len(rows) <= screen.lines else ())
    ]
    lines = [max(map(len, row)) for row in wrapped]
    most = max(lines) if len(rows) == 1 and lines else 1
    if screen and len(lines) > 1:
        most = share(lines, screen.lines - FRAME)
    table = Table()
    for i, name in enumerate(names):
        values = [row[i] for row in rows if row[i] is not None]
        numbers = bool(values) and all(NUMBER.fullmatch(v) for v in values if v is not None)
        table.add_column(
            Text(name.translate(FLAT)),  # not markup: a name may hold brackets
            justify="right" if numbers else "left",
            width=widths[i] if screen else None,
            no_wrap=screen is not None,
            overflow="ellipsis",
        )
    for n, row in enumerate(rows):
        if not screen:
            table.add_row(*map(_text, row))
        elif most > 1:
            table.add_row(*(_cut(c, most, w) for c, w in zip(wrapped[n], widths, strict=True)))
        else:
            table.add_row(*(_text(v, FLAT, w) for v, w in zip(row, widths, strict=True)))
    console.print(table)


def _text(value: str | None, shown_as: dict[int, int] = VISIBLE, width: int | None = None) -> Text:
    """A value; of a long one, more than `width` cells."""
    from rich.text import Text

    if value is None:
        return Text("NULL", "dim")  # not the text 'NULL'
    text = value[: None if width is None else 8 * width + 8].translate(shown_as)
    return Text(text.expandtabs())  # rich measures a line before it does that


def _wrapped(console: Console, value: str | None, width: int) -> list[Text]:
    """A value in lines."""
    return list(_text(value).wrap(console, width)) or [_text("")]


def _cut(lines: list[Text], most: int, width: int) -> Text:
    """At most so many lines, with an ellipsis where there were more."""
    from rich.text import Text

    if len(lines) > most:
        lines = lines[:most]
        lines[-1].rstrip()
        lines[-1].truncate(width - 1)
        lines[-1].append("…")
    return Text("\n").join(lines)
