"""Markup made of text: what is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMPTY = ("br", "meta")

VISIBLE = {
    **{c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t"},
    127: 0x2421,
    # Of these there are none: commands of terminals, and what turns a line's order around.
    **dict.fromkeys([*range(128, 160), 0x202D, 0x202E], 0xFFFD),
}
"""Control characters become pictures of them: HTML has no place for them, and a row's text
can't steer the terminal."""


class Html(str):
    """Markup. Any other text is escaped where it is put into some."""

    __slots__ = ()


def markup(part: str) -> Html:
    """A part of a page.

    Example:
        >>> markup("a < b"), markup(Html("<br>"))
        ('a &lt; b', '<br>')
    """
    return part if isinstance(part, Html) else Html(html.escape(part.translate(VISIBLE)))


def join(parts: Iterable[str]) -> Html:
    """Parts, one behind the other."""
    return Html("".join(map(markup, parts)))


def tag(name: str, /, *parts: str, **attributes: str) -> Html:
    """An element.

    Args:
        name: Of the element.
        parts: What it holds.
        attributes: By name, with `_` for `-`; one at the end is for Python alone.

    Example:
        >>> tag("td", "a < b", class_="wide")
        '<td class="wide">a &lt; b</td>'
    """
    given = "".join(
        f' {k.rstrip("_").replace("_", "-")}="{html.escape(v)}"' for k, v in attributes.items()
    )
    return Html(f"<{name}{given}>" + ("" if name in EMPTY else f"{join(parts)}</{name}>"))


def grid(
    header: Sequence[str],
    rows: Iterable[Sequence[str | None]],
    *,
    words: int = 1,
    caption: str = "",
) -> Html:
    """A table.

    Args:
        header: The names of its columns.
        rows: Their cells; None reads NULL.
        words: How many columns from the left hold words; the others are numbers.
        caption: What is above it.
    """
    aligned = ["text-align:left" if i < words else "text-align:right" for i in range(len(header))]

    def cell(value: str | None, style: str) -> Html:
        shown = tag("i", "NULL") if value is None else value
        return tag("td", shown, style=style)

    head = [tag("th", h, scope="col", style=s) for h, s in zip(header, aligned, strict=True)]
    body = [tag("tr", *map(cell, row, aligned)) for row in rows]
    above = [tag("caption", caption)] if caption else []
    return tag("table", *above, tag("thead", tag("tr", *head)), tag("tbody", *body))


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that a notebook shows: as markup where it can, else as text."""

    html: Html
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text
