"""Views that give other rows each time they are read: nothing can be collected from them first."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlllm.rewrite.calls import VOLATILE

COLLECTING = frozenset({"search", "gather"})
"""The rules that read a table once more, to collect."""

_DRAWS = re.compile(rf"\b(?:{'|'.join(VOLATILE)})\(|\b(?:TABLE|USING )SAMPLE\b", re.IGNORECASE)


def drawn(query: str, views: Mapping[str, str]) -> str | None:
    """The name of a view that draws its rows and is read by a query, also through other views.

    Args:
        query: Its text.
        views: The definition of each view, by its name in lower case.

    Example:
        >>> views = {"few": "CREATE VIEW few AS FROM t USING SAMPLE 9", "v": "... FROM few"}
        >>> drawn("SELECT ai.embed(x) FROM V", views), drawn("SELECT ai.embed(x) FROM t", views)
        ('few', None)
    """
    known, words = set(), _words(query)
    while words:
        name = words.pop()
        if name in known or name not in views:
            continue
        if _DRAWS.search(views[name]):
            return name
        known.add(name)
        words += _words(views[name])
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
