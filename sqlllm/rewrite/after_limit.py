"""Calls in the select list run after LIMIT and ORDER BY ... LIMIT when they don't decide it.

DuckDB evaluates the select list below the sort: `SELECT ai.f(x) ... ORDER BY s LIMIT 5` sends
every row. Safe where each result row comes from one row of FROM: WHERE and ORDER BY settle which
rows are kept. If a call is among the keys, the kept rows carry its answer as a column.
"""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.calls import asks, calls
from sqlllm.rewrite.conditions import joins
from sqlllm.rewrite.source import (
    hide,
    is_row_by_row,
    listed_stars,
    shows_all,
    sort_keys,
    source,
    top,
)


def after_limit(select: exp.Select) -> exp.Select:
    """Apply the rule to one query block."""
    if not select.args.get("limit") or not any(asks(p) for p in select.expressions):
        return select
    keys, limits = sort_keys(select), top(select)
    if keys is None or limits is None or not _has_others(select, keys):
        return select
    asked = any(asks(key) for key in keys)
    # An AI condition is for early_stop, but where a key asks all rows must be decided anyway.
    if any(asks(select.args.get(part)) for part in ("from_", *(() if asked else ("where",)))):
        return select
    if any(map(asks, joins(select))) or not is_row_by_row(select):
        return select
    wrapped = source(select)
    if wrapped is None or (asked and shows_all(select)):  # also the answers of keys
        return select
    answers = {key.this.sql(): f"__ai_k{i}" for i, key in enumerate(keys) if asks(key)}
    outer, inner = select.copy(), select.copy()
    carried = [exp.alias_(k.this.copy(), answers[k.this.sql()]) for k in keys if asks(k)]
    inner.set("expressions", [*(column.copy() for column in wrapped.columns), *carried])
    inner.set("with_", None)
    ordered = [_carried(key.copy(), answers) for key in keys]
    inner.set("order", exp.Order(expressions=ordered) if keys else None)
    for key in outer.args["order"].expressions if keys else ():
        _carried(key, answers)
    for part in ("where", "joins", "limit", "offset"):
        outer.set(part, None)
    for call in [call for p in outer.expressions for call in calls(p) if call.sql() in answers]:
        answer = exp.column(answers[call.sql()])
        # In parentheses a column without a name is still known for one.
        call.replace(exp.paren(answer) if call.parent is outer else answer)
    if answers:
        hide(listed_stars(outer), answers.values())
    outer.set("from_", wrapped.reading(inner, "__ai_top"))
    return outer


def _has_others(select: exp.Select, keys: list[exp.Ordered]) -> bool:
    """Whether the select list has calls that don't decide the order."""
    deciding = {call.sql() for key in keys for call in calls(key)}
    return any(call.sql() not in deciding for p in select.expressions for call in calls(p))


def _carried(key: exp.Ordered, answers: dict[str, str]) -> exp.Ordered:
    """A key that asks, as the column that holds its answer."""
    name = answers.get(key.this.sql())
    if name is not None:
        key.set("this", exp.column(name))
    return key
