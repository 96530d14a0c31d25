"""The statements of a script, as text."""

from __future__ import annotations

import re

import sqlglot
from sqlglot.errors import SqlglotError

EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\s+(?=SELECT|WITH|FROM|INSERT|CREATE)", re.IGNORECASE)


def split(sql: str) -> list[str]:
    """The text of each statement; pieces that are comments only are dropped."""
    try:
        tokens = sqlglot.tokenize(sql, dialect="duckdb")
    except SqlglotError:
        return [sql]
    pieces, start, empty = [], 0, True
    for token in tokens:
        if token.token_type.name != "SEMICOLON":
            empty = False
            continue
        if not empty:
            pieces.append(sql[start : token.start])
        start, empty = token.start + 1, True
    return pieces if empty else [*pieces, sql[start:]]  # what is left may be a comment


def bare(statement: str) -> str:
    """A statement without the comments and semicolons before and after it.

    Example:
        >>> bare("-- all\\nSELECT 1; -- done")
        'SELECT 1'
    """
    try:
        tokens = sqlglot.tokenize(statement, dialect="duckdb")
    except SqlglotError:
        return statement
    while tokens and tokens[-1].token_type.name == "SEMICOLON":
        tokens.pop()
    return statement[tokens[0].start : tokens[-1].end + 1] if tokens else ""


def numbered(statement: str) -> str:
    """`?` as $1, $2 and so on, which may be repeated and moved; `?3` as $3.

    As DuckDB counts: one more than the highest so far.

    Example:
        >>> numbered("SELECT '?', ? + ?::INTEGER, ?1")
        "SELECT '?', $1 + $2::INTEGER, $1"
        >>> numbered("SELECT $2, ?")
        'SELECT $2, $3'
    """
    if "?" not in statement:
        return statement
    text, highest = list(statement), 0
    tokens = sqlglot.tokenize(statement, dialect="duckdb")
    for at, token in enumerate(tokens):
        if token.token_type.name not in ("PARAMETER", "PLACEHOLDER", "QDCOLON"):  # `$`, `?`, `?::`
            continue
        sign, following = statement[token.start], tokens[at + 1 : at + 2]
        given = following[0].text if following and token.text in ("$", "?") else ""
        if sign in "$?" and given.isdecimal():
            text[token.start] = "$"
            highest = max(highest, int(given))
        elif sign == "?":
            highest += 1
            text[token.start] = f"${highest}"
    return "".join(text)


def query_of(statement: str) -> str:
    """The query that CREATE TABLE ... AS, COPY (...) or INSERT writes; else all of it.

    Example:
        >>> query_of("CREATE TABLE t(a, b) AS SELECT 1, 2"), query_of("COPY (SELECT 1) TO 'x.csv'")
        ('SELECT 1, 2', 'SELECT 1')
        >>> query_of("INSERT INTO t(a) SELECT a FROM u ON CONFLICT DO NOTHING RETURNING a")
        'SELECT a FROM u'
    """
    tokens = sqlglot.tokenize(statement, dialect="duckdb")
    kind, depth = tokens[0].token_type.name if tokens else "", 0
    begin: int | None = None
    for at, token in enumerate(tokens):
        depth += {"L_PAREN": 1, "R_PAREN": -1}.get(token.token_type.name, 0)
        if kind == "INSERT" and depth == 0:
            if begin is None and token.token_type.name in ("SELECT", "WITH", "FROM"):
                begin = token.start
            ends = token.token_type.name == "RETURNING" or [
                each.text.upper() for each in tokens[at : at + 2]
            ] == ["ON", "CONFLICT"]
            if begin is not None and ends:
                return statement[begin : token.start].rstrip()
        if kind == "CREATE" and depth == 0 and token.token_type.name == "ALIAS":
            return statement[tokens[at + 1].start :]
        if kind == "COPY" and at and depth == 0:
            return statement[tokens[1].end + 1 : token.start]
    return statement[begin or 0 :]


def same_words(a: str, b: str) -> bool:
    """Whether two statements differ in spacing and case only.

    Example:
        >>> same_words("SELECT A", "select  a"), same_words("SELECT 1_0", "SELECT 10")
        (True, False)
    """
    words = [
        [
            sql[token.start : token.end + 1] if token.token_type.name == "NUMBER" else token.text
            for token in sqlglot.tokenize(sql, dialect="duckdb")
        ]
        for sql in (a, b)
    ]
    return [w.lower() for w in words[0]] == [w.lower() for w in words[1]]
