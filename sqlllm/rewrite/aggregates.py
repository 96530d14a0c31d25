"""`ai.agg` with what only an aggregate takes becomes a call over a real one, `list(...)`.

To DuckDB `ai.agg` is a macro. `ai.agg(DISTINCT x, 'i' ORDER BY x) FILTER (WHERE c) OVER w` becomes
`ai._agg(list(DISTINCT x ORDER BY x) FILTER (WHERE c) OVER w, 'i', in_order := true)`. It is done in
the text: sqlglot can't parse DISTINCT next to `model := ...`, and what it can't parse at all, or a
view that keeps its text, must run too. Calls that DuckDB can read stay (see over_lists.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OVER_LISTS = {
    "agg": "_agg",
    "summarize_agg": "_summarize_agg",
    "try_agg": "try__agg",
    "try_summarize_agg": "try__summarize_agg",
}
"""Macros over a row's text, and what each is over a list of texts."""


_TEXT = re.compile(r"text\s*(?::=|=>)\s*", re.IGNORECASE)


def aggregates(sql: str) -> str:
    """Open the calls that DuckDB could not read; the others are left as they are.

    Example:
        >>> aggregates("SELECT ai.agg(DISTINCT x, 'sum up', model := 'q') FROM t")
        "SELECT ai._agg(list(DISTINCT x), 'sum up', model := 'q') FROM t"
    """
    from sqlglot.errors import SqlglotError

    if not any(f"ai.{name}" in sql.lower() for name in OVER_LISTS):
        return sql
    try:
        return _opened(sql)
    except SqlglotError:
        return sql  # DuckDB says what is wrong with it


def _opened(sql: str) -> str:
    import sqlglot

    tokens = sqlglot.tokenize(sql, dialect="duckdb")
    for at in reversed(range(len(tokens) - 3)):
        call = _call(sql, tokens, at)
        if call is not None and (text := call.opened()) is not None:
            return _opened(sql[: call.start] + text + sql[call.end :])
    return sql


@dataclass(frozen=True, slots=True)
class _Call:
    """The parts of a call, as text."""

    start: int
    end: int
    name: str
    distinct: bool
    arguments: list[str]
    order: str
    after: str

    def opened(self) -> str | None:
        """What it becomes; None where DuckDB can read it as it is."""
        if not (self.distinct or self.order or self.after):
            return None
        named = [a for a in self.arguments if _TEXT.match(a)]
        text = named[0] if named else self.arguments[0]
        others = [a for a in self.arguments if a is not text]
        rows = _TEXT.sub("", text, count=1) if named else text
        distinct = "DISTINCT " if self.distinct else ""
        order = f" {self.order}" if self.order else ""
        after = f" {self.after}" if self.after else ""
        options = ["in_order := true"] if self.order else []
        within = ", ".join([f"list({distinct}{rows}{order}){after}", *others, *options])
        return f"ai.{OVER_LISTS[self.name]}({within})"


def _call(sql: str, tokens: Sequence[Any], at: int) -> _Call | None:
    """The call of an aggregate that begins at a token."""
    words = [_word(sql, token) for token in tokens[at : at + 4]]
    if words[:2] != ["ai", "."] or words[2] not in OVER_LISTS or words[3] != "(":
        return None
    if at and _word(sql, tokens[at - 1]) in (".", "macro", "function"):
        return None
    close = _closing(tokens, at + 3)
    if close is None:
        return None
    distinct = _kind(tokens[at + 4]) == "DISTINCT"
    arguments, order = [], ""
    start = at + 4 + distinct
    for i in _own(tokens, at + 3, close):
        if _kind(tokens[i]) in ("COMMA", "ORDER_BY") or i == close:
            arguments += [_text(sql, tokens[start:i])]
            start = i + 1
        if _kind(tokens[i]) == "ORDER_BY":
            order = _text(sql, tokens[i:close])
            break
    if not all(arguments):
        return None
    end = _end(sql, tokens, close)
    after = _text(sql, tokens[close + 1 : end + 1])
    name = words[2]
    return _Call(tokens[at].start, tokens[end].end + 1, name, distinct, arguments, order, after)


def _text(sql: str, tokens: Sequence[Any]) -> str:
    """From the first token to the last, without the comments around them."""
    return sql[tokens[0].start : tokens[-1].end + 1] if tokens else ""


def _own(tokens: Sequence[Any], start: int, close: int) -> Iterator[int]:
    """The tokens between two parentheses that are in no others, and the closing one."""
    depth = 0
    for i in range(start + 1, close + 1):
        depth -= _kind(tokens[i]) in ("R_PAREN", "R_BRACKET", "R_BRACE")
        if depth == 0 or i == close:
            yield i
        depth += _kind(tokens[i]) in ("L_PAREN", "L_BRACKET", "L_BRACE")


def _end(sql: str, tokens: Sequence[Any], close: int) -> int:
    """The last token of FILTER (...) and OVER (...) behind a call, or the call's own."""
    end = close
    for word in ("filter", "over"):
        if end + 2 >= len(tokens) or _word(sql, tokens[end + 1]) != word:
            continue
        if _kind(tokens[end + 2]) == "L_PAREN":
            end = _closing(tokens, end + 2) or end
        elif word == "over" and _kind(tokens[end + 2]) in ("VAR", "IDENTIFIER"):
            end += 2  # the name of a window
    return end


def _closing(tokens: Sequence[Any], start: int) -> int | None:
    depth = 0
    for i in range(start, len(tokens)):
        depth += (_kind(tokens[i]) == "L_PAREN") - (_kind(tokens[i]) == "R_PAREN")
        if depth == 0:
            return i
    return None


def _word(sql: str, token: Any) -> str:
    return sql[token.start : token.end + 1].lower()


def _kind(token: Any) -> str:
    return str(token.token_type.name)
