"""What a script becomes and what it would cost, for a person to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from sqlllm.errors import SqlllmError
from sqlllm.rewrite import Columns, Plan
from sqlllm.runtime.answers import BLOCK
from sqlllm.runtime.usage import Usage

if TYPE_CHECKING:
    from sqlllm.rewrite.estimate import Estimate


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One AI call: what it would ask, and what it asked if the script was run.

    Attributes:
        call: As it is written.
        model: The model that answers.
        rows: Rows that it is evaluated for; None where that depends on answers.
        distinct: Distinct inputs among them.
        cached: Those that are answered already.
        tokens: Tokens in the texts of the others; the instruction and the answers come on top.
        batches: How often the model is called, at least.
        seconds: Expected, at the speed of this function and model so far; None before the first.
        note: What the numbers leave out.
        actual: What was asked, with `analyze`.
        lane: The task and the model, as hexadecimal digits.
    """

    call: str
    model: str = ""
    rows: int | None = None
    distinct: int | None = None
    cached: int | None = None
    tokens: int | None = None
    batches: int | None = None
    seconds: float | None = None
    note: str = ""
    actual: Usage | None = None
    lane: str = ""

    @property
    def send(self) -> int | None:
        """Inputs that the model would get."""
        if self.distinct is None or self.cached is None:
            return None
        return self.distinct - self.cached


@dataclass(frozen=True, slots=True)
class Explanation(Plan):
    """A plan with its calls; `str` gives a table.

    Attributes:
        calls: One per AI call of the script.
    """

    calls: tuple[CallPlan, ...] = ()

    def __str__(self) -> str:
        """For a person to read."""
        lines = [_lines(self.sql) if self.rewritten else self.sql]
        lines += [f"-- rules: {', '.join(self.fired) or 'none'}"]
        lines += [f"-- {note}" for note in self.notes]
        return "\n".join([*lines, *_table(self.calls)])


def counted(con: Any, statement: str, parameters: object, columns: Columns) -> list[CallPlan]:
    """The calls of a statement, with what each would ask.

    The statement's own sources are read: tables, files, joins, conditions without calls.
    """
    from sqlllm.rewrite.estimate import estimates

    found = [_counted(con, each, parameters) for each in estimates(statement, columns)]
    return [call for calls in found for call in calls]


def _counted(con: Any, estimate: Estimate, parameters: object) -> list[CallPlan]:
    if estimate.sql is None:
        return [CallPlan(estimate.call, note=estimate.note)]
    given = parameters if "$" in estimate.sql else None
    try:
        ((costs,),) = con.execute(estimate.sql, given).fetchall()
    except (duckdb.Error, SqlllmError) as error:
        text = str(error).rpartition("executing the UDF: ")[2]
        reason = text.partition("\n")[0].rpartition("Error: ")[2]
        return [CallPlan(estimate.call, note=f"not counted: {reason}")]
    calls = []
    for cost in json.loads(costs):
        notes = [note for note in (estimate.note, cost.pop("note")) if note]
        rows = cost["rows"]
        batches = (
            -(-rows // 2048)
            if estimate.in_chunks
            else -(-(cost["distinct"] - cost["cached"]) // BLOCK)
        )
        note = "; ".join(notes)
        calls.append(CallPlan(estimate.call, **cost, batches=batches, note=note))
    return calls or [CallPlan(estimate.call, rows=0, note=estimate.note)]


HEADER = ("call", "model", "rows", "distinct", "cached", "send", "tokens", "batches", "seconds")


def _table(calls: Sequence[CallPlan]) -> list[str]:
    if not calls:
        return []
    rows: list[tuple[str, ...]] = [HEADER]
    notes: dict[int, str] = {}
    for c in calls:
        counts = (c.rows, c.distinct, c.cached, c.send, c.tokens, c.batches)
        seconds = "-" if c.seconds is None else f"{c.seconds:.1f}"
        rows.append((_short(c.call), c.model, *map(_number, counts), seconds))
        if c.actual is not None:
            a = c.actual
            done = (a.rows, a.distinct_inputs, a.cached, a.sent, a.prompt_tokens, a.batches)
            rows.append(("  actual", "", *map(_number, done), f"{a.seconds:.1f}"))
        if c.note:
            notes[len(rows) - 1] = f"--   {c.note}"
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = []
    for i, row in enumerate(rows):
        left = [cell.ljust(w) for cell, w in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(w) for cell, w in zip(row[2:], widths[2:], strict=True)]
        lines.append("-- " + "  ".join([*left, *right]).rstrip())
        lines += [notes[i]] if i in notes else []
    return lines


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _short(text: str, width: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _lines(sql: str) -> str:
    """Each CTE of the outermost query on a line of its own."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    from sqlllm.rewrite.parser import AiDuckDB

    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect=AiDuckDB) if tree is not None]
    except SqlglotError:
        return sql
    statements = []
    for tree in trees:
        with_ = tree.args.get("with_")
        tree.set("with_", None)
        ctes = [cte.sql("duckdb") for cte in with_.expressions] if with_ is not None else []
        word = "WITH RECURSIVE " if with_ is not None and with_.args.get("recursive") else "WITH "
        above = word + (",\n" + " " * 5).join(ctes) + "\n" if ctes else ""
        statements.append(above + tree.sql("duckdb"))
    return ";\n".join(statements)
