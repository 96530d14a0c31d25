"""Queries that count what each call of a statement would ask, without asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlglot import exp

from sqlllm.rewrite import Columns
from sqlllm.rewrite.after_limit import after_limit
from sqlllm.rewrite.calls import (
    OF_GROUPS,
    ai_call,
    asks,
    call_name,
    calls,
    group_calls,
    is_of_element,
    is_staged,
)
from sqlllm.rewrite.candidates import missing
from sqlllm.rewrite.conditions import conjuncts, joins
from sqlllm.rewrite.early_stop import early_stop
from sqlllm.rewrite.gather import Asked, collecting, drop_later, why_not
from sqlllm.rewrite.guard import guards, is_late
from sqlllm.rewrite.once import cte_of
from sqlllm.rewrite.over_lists import open_aggregates
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.qualify import qualified, visible_ctes
from sqlllm.rewrite.search import is_collected, searches, texts_of
from sqlllm.rewrite.statement import Left, parse
from sqlllm.rewrite.timing import Shape, Timing, is_key, own_calls
from sqlllm.rewrite.used import mark_used, used_columns
from sqlllm.rewrite.writes import as_select

CHUNKS = "in chunks: "


@dataclass(frozen=True, slots=True)
class Estimate:
    """A call, and how to find out what it would ask.

    Attributes:
        call: Its text.
        sql: A query of one row and one column, `ai._estimate(...)`; None where its texts depend
            on answers.
        note: What the numbers leave out.
        step: The same for calls that are asked together.
    """

    call: str
    sql: str | None
    note: str = ""
    step: str = ""

    @property
    def in_chunks(self) -> bool:
        """Whether it is asked for 2,048 rows at a time."""
        return CHUNKS in self.note


def estimates(statement: str, columns: Columns) -> Iterator[Estimate]:
    """One for each call of a statement, blocks in the order in which they are written."""
    if "ai." in statement.lower():
        with suppress(Left, RecursionError):  # no rule is applied
            yield from _of_tree(parse(statement), columns)


def _of_tree(tree: exp.Expr, columns: Columns) -> Iterator[Estimate]:
    open_aggregates(tree, (), columns)
    mark_used(tree)
    told: set[int] = set()
    if isinstance(tree, exp.Update | exp.Delete):
        yield from _of_block(as_select(tree), columns)
        values = [*tree.expressions, tree.args.get("where")]
        told.update(id(call) for value in values if value is not None for call in calls(value))
    for block in tree.find_all(exp.Select, bfs=False):
        yield from _of_block(block, columns)
        yield from _of_searches(block)
        found = [*own_calls(block), *own_calls(block, group_calls)]
        told.update(id(call) for call, _, _ in found)
    for call in (*calls(tree), *group_calls(tree)):
        if id(call) not in told:  # but in VALUES, RETURNING, ON CONFLICT, MERGE or PIVOT
            yield Estimate(_text(call), None, f"not counted; {CHUNKS}it is in no SELECT")


def _text(call: exp.Dot) -> str:
    """As it was written."""
    return call.meta.get("written") or call.sql(AiDuckDB)


def _of_block(written: exp.Select, columns: Columns) -> Iterator[Estimate]:
    block = (qualified(written, columns) if asks(written) else None) or written
    limited, stopped = after_limit(block), early_stop(block)
    seen, shape = set(), Shape.of(block)
    unused, reason = used_columns(written) is None, why_not(block)
    for call, top, part in [*own_calls(block), *own_calls(block, group_calls)]:
        text = _text(call)
        if text in seen:
            continue
        seen.add(text)
        when = shape.timing(call, part, top)
        notes = []
        lost = missing(block, call)
        notes += [lost] if lost is not None else []
        if stopped is not block and part in ("where", "joins"):
            notes.append("stops at LIMIT" if block.args.get("limit") else "order learned")
        elif limited is not block:
            notes.append("after LIMIT")
        elif call_name(call) in OF_GROUPS:
            notes += ["at most: before LIMIT"] if block.args.get("limit") else []
        elif unused:
            notes.append(CHUNKS + "not all rows of its subquery are used")
        elif reason is not None:
            notes.append(CHUNKS + reason)
        if stopped is not block and part == "expressions" and block.args.get("limit"):
            yield Estimate(text, None, "after LIMIT, for the rows that qualify")
            continue
        keys = [p for p in block.expressions if asks(p) and is_key(block, p)]
        by_answers = _reads_answers(written) or (keys and when is not Timing.EARLY)
        uncounted = _uncounted(call, top)
        if uncounted is not None:
            yield Estimate(text, None, "; ".join([f"not counted: {uncounted}", *notes]))
            continue
        if when is None or by_answers or any(asks(a) for a in call.expression.expressions):
            yield Estimate(text, None, "; ".join(["its inputs depend on answers", *notes]))
            continue
        rows_of = limited if limited is not block and part == "expressions" else block
        source, left_out = _cheap(rows_of, when, call)
        guard = guards(call, top)
        if left_out or any(asks(g) for g in guard):
            notes.append("at most: before other answers")
        asked = Asked(call, tuple(g for g in guard if not asks(g)), when)
        query = collecting(source, [asked], 1, "_estimate", 1)
        unanswered = [c for c in (*calls(query), *group_calls(query)) if not is_staged(c)]
        ctes = visible_ctes(written, asking=False)
        sql = None if unanswered else ctes + query.sql(AiDuckDB)
        step = f"{id(written)} {when.name} {part in ('where', 'joins')}"
        yield Estimate(text, sql, "; ".join(notes), step)


def _uncounted(call: exp.Dot, top: exp.Expr) -> str | None:
    """Why no query counts what a call asks, or None."""
    if call.find(exp.Columns) is not None:
        return "it asks about each column of COLUMNS"
    if is_of_element(call):
        return "it asks about the elements of a list"
    return "much stands before it" if is_late(call, top) else None


def _of_searches(block: exp.Select) -> Iterator[Estimate]:
    """The texts that searches in FROM would embed."""
    for table in searches(block):
        if table.find_ancestor(exp.Query) is block and is_collected(table):
            call = f"ai.{table.this.sql('duckdb', normalize_functions=False)}"
            estimate = ai_call("_estimate", exp.Literal.number(1), exp.column("texts"))
            query = exp.select(estimate).from_(texts_of(table, 1)).sql(AiDuckDB)
            yield Estimate(call, visible_ctes(block, asking=False) + query, "and the query itself")


def _reads_answers(block: exp.Select) -> bool:
    """Whether it reads from a CTE with calls, or from a search."""
    sources = [block.args.get("from_"), *joins(block)]
    tables = [t for s in sources if s is not None for t in s.find_all(exp.Table)]
    return any(asks(cte_of(table)) or any(searches(table)) for table in tables)


def _cheap(block: exp.Select, when: Timing, call: exp.Dot) -> tuple[exp.Select, bool]:
    """What the call's texts come from, without conditions that ask; whether there were others."""
    later = when if when is Timing.EARLY else Timing.LATE
    source, left_out = drop_later(block.copy(), later), False
    clauses: list[tuple[exp.Expr, str]] = [(source, n) for n in ("where", "having", "qualify")]
    clauses += [(join, "on") for join in joins(source)]
    for owner, name in clauses:
        clause = owner.args.get(name)
        if clause is None:
            continue
        terms = conjuncts(clause if name == "on" else clause.this)
        kept = [term.copy() for term in terms if not asks(term)]
        own = any(c.sql() == call.sql() for t in terms for c in calls(t))
        left_out = left_out or len(terms) - len(kept) > (1 if own else 0)
        condition = exp.and_(*kept, copy=False) if kept else exp.true()
        owner.set(name, condition if name == "on" else type(clause)(this=condition))
    if when is not Timing.EARLY:
        projections = [p for p in source.expressions if not asks(p)]
        source.set("expressions", projections or [exp.Literal.number(1)])
    return source, left_out
