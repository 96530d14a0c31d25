"""What a script becomes and what it would cost, for a person to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import duckdb

from sqlllm.errors import SqlllmError
from sqlllm.html import Html, grid, join, tag
from sqlllm.rewrite import Columns, Plan
from sqlllm.runtime.answers import ASKED
from sqlllm.runtime.questions import Questions, text_first_notes
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


@dataclass(frozen=True, slots=True, repr=False)
class Explanation(Plan):
    """A plan with its calls; `str` gives a table, and notebooks show one.

    Attributes:
        calls: One per AI call of the script.
    """

    calls: tuple[CallPlan, ...] = ()

    def __str__(self) -> str:
        """For a person to read."""
        return self.text()

    def text(self, width: int | None = None) -> str:
        """Likewise, with the table of calls at most so many characters wide where it can be."""
        lines = [pretty(self.sql) if self.rewritten else self.sql]
        lines += [f"-- rules: {', '.join(self.fired) or 'none'}"]
        lines += [f"-- {note}" for note in self.notes]
        return "\n".join([*lines, *_table(self.calls, width)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return tag("div", plan_html(self), calls_html(self.calls))


CODE = "white-space:pre-wrap;text-align:left"


def plan_html(made: Plan) -> Html:
    """The script as it was written and as DuckDB gets it, and the rules between the two."""
    parts = [tag("pre", made.original.strip(), style=CODE)]
    if made.rewritten:
        rewritten = tag("pre", pretty(made.sql), style=CODE)
        parts.append(tag("details", tag("summary", "as DuckDB gets it"), rewritten))
    parts.append(tag("p", f"rules: {', '.join(made.fired) or 'none'}"))
    return join([*parts, *(tag("p", note) for note in made.notes)])


def calls_html(calls: Sequence[CallPlan]) -> Html:
    """What each call would ask, and what it asked."""
    if not calls:
        return tag("p", "no calls")
    rows = []
    for cells, note in _cells(calls):
        call = [tag("code", cells[0]), *([tag("br"), tag("small", note)] if note else [])]
        rows.append((join(call), *cells[1:]))
    return grid(HEADER, rows, words=2)


def counted(
    sql: Callable[..., Any], statement: str, parameters: object, columns: Columns
) -> list[CallPlan]:
    """The calls of a statement, with what each would ask.

    The statement's own sources are read: tables, files, joins, conditions without calls. `sql` is
    DuckDB's method of that name: what it can't bind ends no transaction, as in `execute` it would.
    """
    from sqlllm.rewrite.estimate import estimates

    found = [
        each
        for estimate in estimates(statement, columns)
        for each in _counted(sql, estimate, parameters)
    ]
    notes = text_first_notes([questions for _, questions in found])
    return [
        replace(call, note="; ".join(filter(None, (call.note, note))))
        for (call, _), note in zip(found, notes, strict=True)
    ]


def _counted(
    sql: Callable[..., Any], estimate: Estimate, parameters: object
) -> list[tuple[CallPlan, Questions]]:
    if estimate.sql is None:
        return [(CallPlan(estimate.call, note=estimate.note), Questions())]
    given = parameters if "$" in estimate.sql else None
    try:
        ((costs,),) = sql(estimate.sql, params=given).fetchall()
    except (duckdb.Error, SqlllmError) as error:
        text = str(error).rpartition("executing the UDF: ")[2]
        reason = text.partition("\n")[0].rpartition("Error: ")[2]
        return [(CallPlan(estimate.call, note=f"not counted: {reason}"), Questions())]
    calls = []
    for cost in json.loads(costs):
        notes = [note for note in (estimate.note, cost.pop("note")) if note]
        rows = cost["rows"]
        batches = (
            -(-rows // 2048)
            if estimate.in_chunks
            else -(-(cost["distinct"] - cost["cached"]) // ASKED)
        )
        note, step = "; ".join(notes), None if estimate.in_chunks else estimate.step
        questions = Questions.of(step, cost)
        calls.append((CallPlan(estimate.call, **cost, batches=batches, note=note), questions))
    return calls or [(CallPlan(estimate.call, rows=0, note=estimate.note), Questions())]


HEADER = ("call", "model", "rows", "distinct", "cached", "send", "tokens", "batches", "seconds")


def _cells(calls: Sequence[CallPlan]) -> list[tuple[tuple[str, ...], str]]:
    """The cells of each line, and what stands below it."""
    lines = []
    for c in calls:
        counts = (c.rows, c.distinct, c.cached, c.send, c.tokens, c.batches)
        seconds = "-" if c.seconds is None else f"{c.seconds:.1f}"
        rows = [(_short(c.call), c.model, *map(_number, counts), seconds)]
        if c.actual is not None:
            a = c.actual
            done = (a.rows, a.distinct_inputs, a.cached, a.sent, a.prompt_tokens, a.batches)
            rows.append(("  actual", "", *map(_number, done), f"{a.seconds:.1f}"))
        lines += [(row, c.note if row is rows[-1] else "") for row in rows]
    return lines


def _table(calls: Sequence[CallPlan], width: int | None) -> list[str]:
    if not calls:
        return []
    from rich.cells import cell_len, set_cell_size

    cells = [(HEADER, ""), *_cells(calls)]
    widths = [max(cell_len(row[i]) for row, _ in cells) for i in range(len(HEADER))]
    above = width is not None and 3 + sum(widths) + 2 * (len(HEADER) - 1) > width
    widths[0] = 0 if above else widths[0]
    lines = []
    for i, (row, note) in enumerate(cells):
        if above:  # the call has a line of its own
            lines += [f"-- {row[0]}"] if i and row[1] else []
            row = ("", row[1] or row[0].strip(), *row[2:])
        left = [
            set_cell_size(cell, max(w, cell_len(cell)))
            for cell, w in zip(row[:2], widths[:2], strict=True)
        ]
        right = [cell.rjust(w) for cell, w in zip(row[2:], widths[2:], strict=True)]
        lines.append("-- " + "  ".join([*left, *right]).rstrip())
        lines += [f"--   {note}"] if note else []
    return lines


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _short(text: str, width: int = 48) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def pretty(sql: str) -> str:
    """Each CTE of a statement's outermost query on a line of its own."""
    from sqlllm.rewrite.script import split

    return ";\n".join(_pretty(statement.strip()) for statement in split(sql))


_WITH = re.compile(r"(?:EXPLAIN\s+(?:ANALYZE\s+)?)?(WITH\s+(?:RECURSIVE\s+)?)", re.IGNORECASE)


def _pretty(statement: str) -> str:
    import sqlglot
    from sqlglot.errors import SqlglotError

    from sqlllm.rewrite.parser import AiDuckDB

    begin = _WITH.match(statement)
    if begin is None:
        return statement
    try:
        tree = sqlglot.parse_one(statement[begin.start(1) :], dialect=AiDuckDB)
    except SqlglotError:
        return statement
    with_ = tree.args["with_"].pop()
    ctes = (",\n" + " " * 5).join(cte.sql(AiDuckDB) for cte in with_.expressions)
    return f"{begin[0]}{ctes}\n{tree.sql(AiDuckDB)}"
