"""Calls in the select list run after LIMIT and ORDER BY ... LIMIT when they don't decide it.

DuckDB evaluates the select list below the sort: `SELECT ai.f(x) ... ORDER BY s LIMIT 5` sends
every row. Safe where each result row comes from one row of FROM and no call is in WHERE, ON or
ORDER BY: which rows are kept is then settled before any call.
"""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.calls import asks
from sqlllm.rewrite.source import is_row_by_row, sort_keys, source, top


def after_limit(select: exp.Select) -> exp.Select:
    """Apply the rule to one query block."""
    if not select.args.get("limit") or not any(asks(p) for p in select.expressions):
        return select
    keys, limits = sort_keys(select), top(select)
    if keys is None or limits is None or any(asks(key) for key in keys):
        return select
    if any(asks(select.args.get(part)) for part in ("where", "from_", "from")):
        return select
    if any(asks(join) for join in select.args.get("joins") or ()) or not is_row_by_row(select):
        return select
    wrapped = source(select)
    if wrapped is None:
        return select
    outer, inner = select.copy(), select.copy()
    inner.set("expressions", [column.copy() for column in wrapped.columns])
    inner.set("with_", None)
    if keys:
        inner.set("order", exp.Order(expressions=[key.copy() for key in keys]))
        outer.set("order", exp.Order(expressions=[key.copy() for key in keys]))
    for part in ("where", "joins", "limit", "offset"):
        outer.set(part, None)
    alias = wrapped.alias.copy() if wrapped.alias else exp.to_identifier("__ai_top")
    outer.set("from_", exp.From(this=exp.Subquery(this=inner, alias=exp.TableAlias(this=alias))))
    return outer
