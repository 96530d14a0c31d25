"""The statements of a script, and how they are run: all in one transaction, or one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import duckdb

from sqlllm.connection import Connection
from sqlllm.errors import CallError, ConfigError, first_line
from sqlllm.rewrite.script import bare, split
from sqlllm.runtime.history import cut


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a script.

    Attributes:
        text: Without the semicolon and what follows it.
        kind: As DuckDB calls it: SELECT, INSERT ...
        is_query: Whether it may stand in `COPY (...)`.
        has_rows: Whether its result is rows, not a count of what it changed.
    """

    text: str
    kind: str
    is_query: bool
    has_rows: bool


QUERY = re.compile(r"\(|(SELECT|WITH|FROM|VALUES|PIVOT|UNPIVOT|TABLE)\b", re.IGNORECASE)

Run = Callable[[Connection, int, Step], None]
"""Runs a step, given its number from 1."""


class NotAtOnce(Exception):
    """DuckDB can't run these statements in one transaction."""


def steps(con: duckdb.DuckDBPyConnection | Connection, script: str) -> list[Step]:
    """The statements of a script.

    Raises:
        duckdb.ParserException: It has a syntax error; nothing has run.
    """
    whole = con.extract_statements(script)
    pieces = split(script)
    if len(pieces) < len(whole):  # sqlglot can't read what DuckDB can
        with suppress(IndexError):  # or DuckDB 1.4 has made several, without a text, of a PIVOT
            texts = [statement.query for statement in whole]
            pieces = texts if all(texts) else pieces
    return [_step(con, piece) for piece in pieces]


def _step(con: duckdb.DuckDBPyConnection | Connection, piece: str) -> Step:
    statement = con.extract_statements(piece)[-1]
    kind, text = statement.type.name, bare(piece)
    rows = [str(result) for result in statement.expected_result_type]
    pivots = kind == "MULTI" and QUERY.match(text) is not None
    has_rows = kind == "SELECT" or pivots or rows == ["ExpectedResultType.QUERY_RESULT"]
    returning = re.search(r"\bRETURNING\b", text, re.IGNORECASE) is not None
    is_query = kind == "SELECT" and QUERY.match(text) is not None  # MULTI: COPY gives no count
    return Step(text, kind, is_query, has_rows or returning)


def quoted(name: str) -> str:
    """A name of any characters, as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def set_variables(
    con: duckdb.DuckDBPyConnection | Connection, variables: Mapping[str, Any]
) -> None:
    """Set what a script reads as `getvariable('name')`.

    Raises:
        ConfigError: DuckDB can't take a name or a value.
    """
    for name, value in variables.items():
        try:
            con.execute(f"SET VARIABLE {quoted(name)} = $1", [value])
        except duckdb.Error as error:
            msg = f"the variable {name!r} can't be {cut(repr(value))}: {first_line(error)}"
            hint = "it may be a number, a text, a date or time, a list or dict of those, or None"
            raise ConfigError(msg, hint=hint) from error


def why_one_by_one(script: Sequence[Step]) -> str | None:
    """Why a script can't be one transaction, as far as that is seen before it runs."""
    own = next((step for step in script if step.kind == "TRANSACTION"), None)
    return f"the script has a transaction of its own ({own.text})" if own else None


def at_once(
    db: Connection, script: Sequence[Step], run: Run, before_commit: Callable[[], None]
) -> None:
    """Run a script in one transaction: what ends it early leaves the database as it was.

    Raises:
        NotAtOnce: DuckDB can't. Nothing is changed; the connection is to be closed.
    """
    db.execute("BEGIN TRANSACTION")
    try:
        for number, step in enumerate(script, 1):
            try:
                run(db, number, step)
            except duckdb.TransactionException as error:
                if "conflict" in str(error).lower():  # somebody else changed the same
                    raise
                raise NotAtOnce(first_line(error)) from error
        before_commit()
        db.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):
            db.execute("ROLLBACK")
        raise


def one_by_one(db: Connection, script: Sequence[Step], run: Run) -> None:
    """Run a script as DuckDB does by itself: each statement is kept when it is done."""
    try:
        for number, step in enumerate(script, 1):
            run(db, number, step)
        _check_closed(db)
    except BaseException:
        with suppress(duckdb.Error):
            db.execute("ROLLBACK")  # a transaction of the script's own
        raise


def _check_closed(db: Connection) -> None:
    """Refuse a transaction that the script left open: what it did would be lost."""
    try:
        db.execute("BEGIN TRANSACTION")
    except duckdb.TransactionException:
        msg = "the script leaves a transaction open, and what it did there is undone"
        raise CallError(msg, hint="end it with COMMIT") from None
    db.execute("ROLLBACK")
