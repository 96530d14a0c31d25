"""One batch per AI call: its distinct inputs are gathered and answered before the block runs.

`SELECT ai.complete(x) FROM t WHERE k > 0` becomes

    WITH __ai_1 AS MATERIALIZED (
        SELECT ai._answer(1, count(ai.complete(x, _stage := -1))) AS done FROM t WHERE k > 0)
    SELECT ai.complete(x) FROM t WHERE k > 0 AND (SELECT done FROM __ai_1)

With `_stage := -1` a call only notes its text. The block waits for `done`, since nothing above
WHERE runs before it; a call in WHERE itself waits by `_stage := (SELECT done FROM __ai_1)`. Then
it runs as it was written, and each call finds its answer. So the rows can't change: what was not
gathered is asked as it comes, and all that must be right is that nothing is gathered which
DuckDB would not have asked.

That holds where all rows of the block are used (`used_columns`), for the rows that pass the
conditions without calls, within the guards of CASE, coalesce, AND and OR. A call whose text or
guard contains another waits for that one's answers. Of several AI conditions DuckDB chooses the
order while it runs, so they are left to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from sqlllm.rewrite.calls import (
    ai_call,
    ancestors,
    asks,
    asks_of_groups,
    call_name,
    calls,
    is_of_element,
    named,
    volatile,
)
from sqlllm.rewrite.conditions import (
    are_inner,
    conjuncts,
    joins,
    on_terms,
    take_out,
    terms,
    where_terms,
)
from sqlllm.rewrite.guard import guards, is_late
from sqlllm.rewrite.once import once, reads_often
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.source import add_cte, sort_keys
from sqlllm.rewrite.timing import Shape, Timing, all_calls, is_grouped, own_calls
from sqlllm.rewrite.used import ALL, used_columns


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of a block: the conditions under which it is evaluated, and when."""

    node: exp.Dot
    guard: tuple[exp.Expr, ...]
    when: Timing

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for calls that are gathered alike."""
        return (self.node.sql(AiDuckDB), *(g.sql(AiDuckDB) for g in self.guard))

    @property
    def depth(self) -> int:
        """How many calls must be answered, one after the other, before its text is known."""
        return max((_depth(part) for part in self.needs), default=0)

    @property
    def needs(self) -> tuple[exp.Expr, ...]:
        """What must be known before it is asked."""
        return (*self.node.expression.expressions, *self.guard)


def _levels(found: list[Asked]) -> Iterator[list[Asked]]:
    """Those that are asked together, each once, and after those that they need."""
    for depth in sorted({call.depth for call in found}):
        yield list({call.key: call for call in found if call.depth == depth}.values())


def _depth(node: exp.Expr) -> int:
    """The longest chain of calls within calls."""
    found = list(calls(node))
    own = set(map(id, found))
    return max((1 + sum(id(a) in own for a in ancestors(call, node)) for call in found), default=0)


@dataclass(frozen=True, slots=True)
class Gatherer:
    """What all blocks of a statement share.

    Attributes:
        numbers: Gives a number to each step.
        lazy: Whether the rows of the result may be fetched in part only.
    """

    numbers: Iterator[int]
    lazy: bool = False

    def gather(self, select: exp.Select) -> exp.Select:
        """Apply the rule to one query block."""
        used = used_columns(select)
        if used is None or why_not(select) is not None:
            return select
        if used != ALL and any(
            asks(p) and p.alias_or_name.lower() not in used for p in select.expressions
        ):
            return select  # below a CTE DuckDB would no longer drop columns that nobody reads
        block, lazy = select.copy(), self.lazy and _in_part(select)
        once(block, self.numbers)
        before = len(block.ctes)
        known = self._condition(block, lazy)
        found = list(_found(block))
        for when in Timing:
            now = [call for call in found if call.when is when and call.key not in known]
            for level in _levels(now):
                known |= {call.key for call in level}
                source = _until(block, when)
                if source is not None:
                    block.where(self._step(block, source, level, lazy), copy=False)
        return block if len(block.ctes) > before else select

    def _condition(self, block: exp.Select, lazy: bool) -> set[tuple[str, ...]]:
        """Let the AI condition of WHERE or ON wait for its answers; its calls."""
        term = next((term for term in terms(block) if asks(term)), None)
        when = Shape.of(block).timing(term, "where") if term is not None else None
        if term is None or when is None:
            return set()
        found = [Asked(call, tuple(guards(call, term)), when) for call in calls(term)]
        source = _without(block, term)
        for level in _levels(found):
            done = self._step(block, source.copy(), level, lazy)
            source.where(done.copy(), copy=False)
        for node in [call for call in calls(term) if not _is_nested(call, term)]:
            node.replace(_staged(node, done.copy()))
        others = [other.copy() for other in _certain(block) if other is not term]
        if block.args.get("joins") and others:
            # Else DuckDB asks below the join, also for rows that have no partner.
            # In WHEN, and only there, it skips the right side of AND and OR.
            passes = term.find(exp.Connector) is not None
            then = exp.Case(ifs=[exp.If(this=term.copy(), true=exp.true())]) if passes else term
            branch = exp.If(this=exp.and_(*others, copy=False), true=then.copy())
            term.replace(exp.Case(ifs=[branch]))
        return {call.key for call in found}

    def _step(
        self, block: exp.Select, source: exp.Select, asked: list[Asked], lazy: bool
    ) -> exp.Subquery:
        """Gather calls over the rows of `source`; what is true when they are answered."""
        number = next(self.numbers)
        query = collecting(source, asked, number, "_answer", -number if lazy else number)
        add_cte(block, f"__ai_{number}", query)
        return exp.select("done").from_(f"__ai_{number}").subquery()


def collecting(
    source: exp.Select, asked: list[Asked], number: int, then: str, argument: int
) -> exp.Select:
    """The query that collects calls over the rows of `source`, then calls `ai.<then>`."""
    late = any(call.when is not Timing.EARLY for call in asked)
    staged = [_collecting(call, number) for call in asked]
    names = [exp.column(f"__ai_c{i}") for i in range(len(asked))]
    counts = [exp.Count(this=c, big_int=True) for c in (names if late else staged)]
    total: exp.Expr = counts[0]
    for count in counts[1:]:
        total = exp.Add(this=total, expression=count)
    done = exp.alias_(ai_call(then, exp.Literal.number(argument), total), "done")
    if not late:
        source.set("expressions", [done])
        return source
    columns = [exp.alias_(c, n.name) for c, n in zip(staged, names, strict=True)]
    source.set("expressions", [*source.expressions, *columns])
    return exp.select(done).from_(source.subquery("__ai_late"))


def why_not(select: exp.Select) -> str | None:
    """Why the calls of a block are left to DuckDB's chunks, or None."""
    if not any(True for _ in own_calls(select)):
        return "it has no calls"
    from_ = select.args.get("from_")
    if from_ is None:
        return "a single row"
    limit = select.args.get("limit")
    if limit and (select.args.get("distinct") or not any(map(select.args.get, ("order", "group")))):
        return "LIMIT may stop it early"
    if select.args.get("sample") or select.find(exp.TableSample):
        return "a sample is drawn anew each time"
    drawn = volatile(select)
    if drawn is not None:
        return f"{drawn}() differs each time"
    if not reads_often(select):
        return "it reads from a subquery with LIMIT or with calls"
    if any(call.find_ancestor(exp.Query) is not select for call in all_calls(select)):
        return "a subquery in an expression has calls of its own"
    asking = [term for term in terms(select) if asks(term)]
    if len(asking) > 1:
        return "DuckDB chooses the order of several AI conditions"
    if asking and any(is_late(call, asking[0]) for call in calls(asking[0])):
        return "much stands before a call of its AI condition"
    if asking and any(map(is_of_element, calls(asking[0]))):
        return "its AI condition asks about the elements of a list"
    if asking and any(term.find(exp.Query) for term in terms(select)):
        return "an AI condition next to a subquery is left to DuckDB"
    if asking and not _waits(select, asking[0]):
        return "its AI condition decides the join"
    return None


def _certain(select: exp.Select) -> list[exp.Expr]:
    """The conditions that hold for every row of the block, as those of outer joins don't."""
    if any(join.side in ("RIGHT", "FULL") for join in joins(select)):
        return where_terms(select)
    inner = [j for j in joins(select) if not j.side and j.kind not in ("SEMI", "ANTI")]
    return [*where_terms(select), *(term for join in inner for term in on_terms(join))]


def _waits(select: exp.Select, term: exp.Expr) -> bool:
    """Whether the condition can be decided after all others."""
    if isinstance(term.find_ancestor(exp.Where, exp.Join), exp.Where):
        return True
    if isinstance(term, exp.EQ) and asks(term.this) and asks(term.expression):
        return False  # DuckDB asks each side below the join, and joins by hash
    return are_inner(select)


def _without(block: exp.Select, term: exp.Expr) -> exp.Select:
    """A copy of the block to select from, without one condition."""
    at = next(i for i, other in enumerate(terms(block)) if other is term)
    source = drop_later(block.copy(), Timing.EARLY)
    take_out(source, terms(source)[at])
    return source


def drop_later(source: exp.Select, when: Timing) -> exp.Select:
    """Remove, in place, the clauses that come after calls of that timing."""
    parts = ["with_", "distinct", "order", "limit", "offset"]
    if when is Timing.EARLY:
        parts += ["group", "having", "qualify", "windows"]
    elif when is Timing.HAVING:
        parts += ["qualify"]
    for part in parts:
        source.set(part, None)
    return source


def _until(block: exp.Select, when: Timing) -> exp.Select | None:
    """A copy of the block up to where calls of that timing are asked; None if that's unclear."""
    source = drop_later(block.copy(), when)
    for part, own in (("having", Timing.HAVING), ("qualify", Timing.QUALIFY)):
        clause = source.args.get(part)
        if clause is None:
            continue
        asking = [term for term in conjuncts(clause.this) if asks(term)]
        if len(asking) > 1 or asks_of_groups(clause):
            return None  # DuckDB chooses their order; what asks of groups is asked once
        if asking and when is own:
            kept = [t.copy() for t in conjuncts(clause.this) if t is not asking[0]]
            clause.set("this", exp.and_(*kept, copy=False) if kept else exp.true())
    return source


def _found(block: exp.Select) -> Iterator[Asked]:
    """The calls outside of WHERE and ON that are asked for every row."""
    limited = block.args.get("limit") is not None
    deciding = {c.sql() for key in sort_keys(block) or () for c in calls(key)} if limited else set()
    shape = Shape.of(block)
    for call, top, part in own_calls(block):
        if part in ("where", "joins") or is_of_element(call) or is_late(call, top):
            continue
        decides = call.sql() in deciding or shape.grouped or part == "order"
        if limited and not decides:
            continue
        when = shape.timing(call, part, top)
        asked = Asked(call, tuple(guards(call, top)), when) if when is not None else None
        if asked is not None and not any(map(asks_of_groups, asked.needs)):
            yield asked


def _in_part(select: exp.Select) -> bool:
    """Whether rows of the block come out of the statement before all have gone in."""
    node: exp.Expr | None = select
    while node is not None:
        if isinstance(node, exp.Select) and is_grouped(node):
            return False
        all_rows = not isinstance(node, exp.SetOperation) or not node.args.get("distinct")
        if node.args.get("order") or not all_rows:
            return False
        if isinstance(node, exp.Select) and node.args.get("distinct"):
            return False
        node = node.parent
    return True


def _collecting(call: Asked, number: int) -> exp.Expr:
    collecting: exp.Expr = _staged(call.node, exp.Literal.number(-number))
    if call.guard:
        when = exp.and_(*(exp.paren(g.copy()) for g in call.guard), copy=False)
        collecting = exp.Case(ifs=[exp.If(this=when, true=collecting)])
    return collecting


def _staged(call: exp.Dot, stage: exp.Expr) -> exp.Dot:
    """A copy of the call that collects, or waits."""
    copied = call.copy()
    copied.expression.append("expressions", named("_stage", stage))
    return copied


def _is_nested(call: exp.Dot, top: exp.Expr) -> bool:
    """Whether it is part of another call's text."""
    return any(call_name(ancestor) for ancestor in ancestors(call, top))
