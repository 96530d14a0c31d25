"""`FROM ai.search('t', ...)` without a column of vectors embeds its texts as one batch.

    SELECT * FROM ai.search('t', 'a question')

becomes

    WITH __ai_1 AS MATERIALIZED (
        SELECT ai._answer(1, texts) AS done FROM ai._search_texts(1, 't'))
    SELECT * FROM ai.search('t', 'a question', _stage := (SELECT done FROM __ai_1))

A table macro hides its calls from `gather`. It reads the whole table whatever is above it, so that
nothing is collected that would not be asked.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sqlllm.errors import CallError, did_you_mean
from sqlllm.rewrite import Columns
from sqlllm.rewrite.calls import ai_call, named, option
from sqlllm.rewrite.qualify import visible_ctes
from sqlllm.rewrite.source import add_cte

SHARED = ("text", "model", "truncate", "on_error")  # arguments of ai._search_texts


def searches(node: exp.Expr) -> Iterator[exp.Table]:
    """Every `ai.search(...)` that stands as a table."""
    for table in node.find_all(exp.Table):
        call = table.this
        is_search = isinstance(call, exp.Anonymous) and call.name.lower() == "search"
        if is_search and table.db.lower() == "ai":
            yield table


def search(select: exp.Select, numbers: Iterator[int], columns: Columns) -> exp.Select:
    """Apply the rule to one query block; see that the columns that its searches name are there."""
    new = select.copy()
    for table in [t for t in searches(new) if t.find_ancestor(exp.Query) is new]:
        _check(table, select, columns)
        number = next(numbers) if is_collected(table) else 0
        if number:
            done = exp.alias_(
                ai_call("_answer", exp.Literal.number(number), exp.column("texts")), "done"
            )
            query = exp.select(done).from_(texts_of(table, number))
            add_cte(new, f"__ai_{number}", query)
            waits = exp.select("done").from_(f"__ai_{number}").subquery()
            table.this.append("expressions", named("_stage", waits))
    return new if len(new.ctes) > len(select.ctes) else select


def is_collected(table: exp.Table) -> bool:
    """Whether a search embeds texts that can be known before it: nothing depends on other rows."""
    arguments = table.this.expressions
    embedding = _argument(table, "embedding")
    if len(arguments) < 2 or not isinstance(embedding, exp.Null | None):
        return False
    if any(not isinstance(a, exp.PropertyEQ) for a in arguments[2:]) or _argument(table, "_stage"):
        return False
    shared = [_argument(table, name) for name in SHARED]
    return _is_name(arguments[0]) and not any(a.find(exp.Column, exp.Query) for a in shared if a)


def texts_of(table: exp.Table, number: int) -> exp.Table:
    """A table of one row and the column `texts`, which collects under a number what is embedded."""
    options = [named(n, a.copy()) for n in SHARED if (a := _argument(table, n)) is not None]
    first = table.this.expressions[0].copy()
    call = exp.Anonymous(
        this="_search_texts", expressions=[exp.Literal.number(number), first, *options]
    )
    return exp.Table(this=call, db=exp.to_identifier("ai"))


def _check(table: exp.Table, select: exp.Select, columns: Columns) -> None:
    """Refuse a column that isn't there: DuckDB's message is about an expression of the macro."""
    source, embedding = table.this.expressions[0], _argument(table, "embedding")
    argument = "text" if isinstance(embedding, exp.Null | None) else "embedding"
    wanted = _argument(table, argument) or exp.Literal.string("text")
    if not (isinstance(wanted, exp.Literal) and wanted.is_string and _is_name(source)):
        return
    known = columns(f"{visible_ctes(select)}FROM query_table({source.sql('duckdb')})")
    if known is not None and wanted.name.lower() not in map(str.lower, known):
        msg = f"ai.search: {source.name} has no column {wanted.name!r} ({argument} := ...)"
        raise CallError(msg, hint=did_you_mean(wanted.name, known))


def _argument(table: exp.Table, name: str) -> exp.Expr | None:
    return option(table.this.expressions, name)


def _is_name(argument: exp.Expr) -> bool:
    """Of a table: text, or a name as it is written in FROM."""
    return isinstance(argument, exp.Column) or (
        isinstance(argument, exp.Literal) and argument.is_string
    )
