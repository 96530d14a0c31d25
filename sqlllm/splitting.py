"""A text in parts that end where paragraphs, lines, sentences or words do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

Count = Callable[[Sequence[str]], list[int]]
"""The tokens of each text, as `Model.count_tokens`."""

# The best places to cut first. Blanks begin a part: to most tokenizers " word" is one token.
BOUNDARIES = (
    re.compile(r"(?<!\n)(?=\n\n)"),
    re.compile(r"(?<!\n)(?=\n)"),
    re.compile(r"(?<=[.!?…][\"')\]])(?=\s)|(?<=[.!?…])(?=\s)|(?<=[。！？])"),
    re.compile(r"(?<=\S)(?=\s)"),
)


def split(text: str, most: int, count: Count) -> list[str]:
    """The parts of a text, in order; joined they are the text.

    Args:
        text: Any text.
        most: Most tokens of a part. Only a single character may have more.
        count: Counts tokens. A part's tokens are taken to be
            no more than those of its pieces together.

    Example:
        >>> split("One two. Three four.", 2, lambda texts: [len(t.split()) for t in texts])
        ['One two.', ' Three four.']
    """
    return [part for part, _ in _parts(text, count([text])[0], most, count, 0)]


def _parts(text: str, size: int, most: int, count: Count, level: int) -> list[tuple[str, int]]:
    """Each part with its tokens."""
    if size <= most or len(text) < 2:
        return [(text, size)]
    pieces = _pieces(text, level)
    parts: list[tuple[str, int]] = []
    for piece, tokens in zip(pieces, count(pieces) if len(pieces) > 1 else [size], strict=True):
        last, taken = parts[-1] if parts else ("", most)
        if taken + tokens <= most:
            parts[-1] = (last + piece, taken + tokens)
        else:
            parts += _parts(piece, tokens, most, count, level + 1)
    return parts


def _pieces(text: str, level: int) -> list[str]:
    """The text cut at all boundaries of a level; beyond the last one, in halves."""
    if level >= len(BOUNDARIES):
        return [text[: len(text) // 2], text[len(text) // 2 :]]
    cuts = [match.start() for match in BOUNDARIES[level].finditer(text)]
    return [text[a:b] for a, b in pairwise([0, *cuts, len(text)]) if a < b]
