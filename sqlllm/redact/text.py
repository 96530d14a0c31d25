"""Texts as the rules read them, and words beside a number.

The rules look for a digit first and then behind it: a regular expression that begins with a set of
characters is several times faster than one that begins by looking back.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

SPACES = (
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"
)
HYPHENS = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63"

WINDOW = 80  # characters in which a word and the number that it announces stand

# Joiners, soft hyphens, marks of direction, and accents that are characters of their own.
UNSEEN = re.compile(
    "[\u00ad\u0300-\u036f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)


def readable(text: str) -> str:
    """The text with plain spaces, hyphens, digits and Latin letters of normal width.

    Every character stands for the one at the same place, so positions hold for both.

    Example:
        >>> readable("ａｎｎ＠example.org\u00a0٤٢")
        'ann@example.org 42'
    """
    return text if text.isascii() else text.translate(_table())


@cache
def _table() -> dict[int, int]:
    table = {ord(char): ord(" ") for char in SPACES} | {ord(char): ord("-") for char in HYPHENS}
    digits = ((code, unicodedata.decimal(chr(code), None)) for code in range(0x80, 0x20000))
    table |= {code: ord("0") + digit for code, digit in digits if digit is not None}
    return table | {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


class Words:
    """Words that say what the number after them is: "SSN: ...", or "... (SSN)".

    Between the word and the number there is no other number, and nothing that was masked before:
    so that a text which was redacted once gives itself.

    Args:
        words: Regular expressions of the words, as one alternation.
        gap: What may stand between; at most 30 characters of anything but digits by default.

    Example:
        >>> ssn = Words("ssn|social security")
        >>> text = "Her SSN is 123-45-6789, the order 536904399"
        >>> ssn.near(text, 11, 22), ssn.near(text, 34, 43)
        (True, False)
    """

    def __init__(self, words: str, gap: str = r"[^0-9\[\]]{0,30}") -> None:
        self._before = re.compile(rf"(?<!\w)(?:{words})(?![^\W\d_]){gap}\Z", re.IGNORECASE)
        self._after = re.compile(rf"\)? ?\((?:{words})(?!\w)", re.IGNORECASE)

    def near(self, text: str, start: int, end: int) -> bool:
        """Whether one of the words belongs to `text[start:end]`."""
        before = self._before.search(text, max(0, start - WINDOW), start)
        return before is not None or self._after.match(text, end) is not None
