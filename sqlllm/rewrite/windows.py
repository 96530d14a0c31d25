"""Calls that order or partition a window become columns below it.

DuckDB 2.0 refuses them where they stand ("ORDER BY window expressions cannot be volatile"): a call
carries the number of the query, which DuckDB takes for volatile. As a column of a subquery, over
the same rows, it is any other value.
"""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.calls import ancestors
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.source import copied, hide, listed_stars, shows_all, source
from sqlllm.rewrite.timing import is_grouped, own_calls
from sqlllm.rewrite.used import ALL, USED, used_columns


def windows(select: exp.Select) -> exp.Select:
    """Apply the rule to one query block."""
    if select.find(exp.Window) is None:
        return select
    new = _written_out(select)
    found = [(call, top) for call, top, _ in own_calls(new) if _orders(call, top)]
    if not found or is_grouped(select) or new.args.get("windows"):
        return select
    wrapped = source(new)
    if wrapped is None or shows_all(select):
        return select
    names = {text: f"__ai_w{i}" for i, text in enumerate(dict.fromkeys(c.sql() for c, _ in found))}
    columns = [exp.alias_(_call(found, text).copy(), name) for text, name in names.items()]
    inner = exp.Select(expressions=[*(c.copy() for c in wrapped.columns), *columns])
    inner.meta[USED] = ALL if used_columns(select) is not None else None  # it is read whole
    for part in ("from_", "joins", "where"):
        inner.set(part, copied(select.args.get(part)))
        new.set(part, None)
    for projection in {
        id(top): top
        for call, top, part in own_calls(new)
        if part == "expressions" and call.sql() in names
    }.values():
        if not isinstance(projection, exp.Alias):  # DuckDB can't bind what it would name
            name = projection.sql(AiDuckDB, normalize_functions="lower")
            projection.replace(exp.alias_(projection.copy(), name, quoted=True))
    for call, _, _ in list(own_calls(new)):
        if call.sql() in names:
            call.replace(exp.column(names[call.sql()]))
    hide(listed_stars(new), names.values())
    new.set("from_", wrapped.reading(inner, "__ai_below"))
    return new


def _written_out(select: exp.Select) -> exp.Select:
    """A copy whose windows stand where they are used, not in WINDOW; as it is, if one builds on
    another."""
    new = select.copy()
    named = {window.name.lower(): window for window in new.args.get("windows") or []}
    if not named or any(window.args.get("alias") for window in named.values()):
        return new
    for used in [window for window in new.find_all(exp.Window) if window.args.get("alias")]:
        meant = named.get(used.args["alias"].name.lower())
        if meant is None or used.find_ancestor(exp.Query) is not new:
            return select.copy()
        for part in ("partition_by", "order", "spec"):
            value = meant.args.get(part)
            if value and not used.args.get(part):
                used.set(part, copied(value))
        used.set("alias", None)
    new.set("windows", None)
    return new


def _call(found: list[tuple[exp.Dot, exp.Expr]], text: str) -> exp.Dot:
    return next(call for call, _ in found if call.sql() == text)


def _orders(call: exp.Dot, top: exp.Expr) -> bool:
    """Whether it is in ORDER BY or PARTITION BY of a window."""
    node: exp.Expr = call
    for ancestor in ancestors(call, top):
        if isinstance(ancestor, exp.Window):
            return node.arg_key != "this"
        node = ancestor
    return False
