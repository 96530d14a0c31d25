"""AI predicates in growing rounds: stop at LIMIT, and order several by what they cost.

`WHERE cheap AND ai.filter(x, 'q') LIMIT 5`, or with `ai.match` in JOIN ... ON, becomes: number
the rows that pass the cheap predicates, hand the texts to one UDF in that order, and keep the
rows it names. The UDF asks in rounds that at most double what has been asked, and ends when
enough rows qualify. Of several predicates it learns cost and selectivity as it goes and asks the
one first that saves most.

Safe where LIMIT is settled by WHERE alone: each result row comes from one row of FROM, and ORDER
BY has no call in it. Without LIMIT it is used for two predicates and more over one table, where
all rows are used; then anything may stand above.
"""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.calls import ai_call, as_filter, asks, is_subquery_free, named
from sqlllm.rewrite.conditions import joins, on_terms, where_terms
from sqlllm.rewrite.source import (
    ROW,
    copied,
    hide,
    is_row_by_row,
    listed_stars,
    shows_all,
    sort_keys,
    source,
    top,
)
from sqlllm.rewrite.used import used_columns

ROWS = "__ai_rows"


def early_stop(select: exp.Select) -> exp.Select:
    """Apply the rule to one query block."""
    predicates, cheap = _split(select)
    limits = top(select)
    if not predicates or limits is None or any(asks(c) for c in cheap):
        return select
    keys = sort_keys(select)
    if select.args.get("limit"):
        if keys is None or any(asks(key) for key in keys) or not is_row_by_row(select):
            return select
    elif len(predicates) < 2 or select.args.get("joins") or select.args.get("sample"):
        return select  # DuckDB moves each below the join, to the side that it is about
    elif used_columns(select) is None:
        return select  # DuckDB moves conditions from above to before them, or stops early
    else:
        keys = []
    if asks(select.args.get("from_")) or (limits[0] is not None and limits[0].name == "0"):
        return select  # of LIMIT 0 DuckDB evaluates nothing
    wrapped = source(select)
    if wrapped is None or shows_all(select):
        return select

    number = exp.alias_(
        exp.Window(
            this=exp.RowNumber(),
            order=exp.Order(expressions=[key.copy() for key in keys]) if keys else None,
        ),
        ROW,
    )
    inner = exp.Select(expressions=[*(c.copy() for c in wrapped.columns), number])
    for part in ("from_", "joins"):
        inner.set(part, copied(select.args.get(part)))
    for join in joins(inner):
        _keep_cheap(join)
    inner.set("where", exp.Where(this=exp.and_(*(c.copy() for c in cheap))) if cheap else None)

    rows = exp.to_table(ROWS, alias=wrapped.alias.copy() if wrapped.alias else None)
    wanted = _wanted(limits) if select.args.get("limit") else exp.Null()
    found: exp.Expr = _first(wanted, predicates)
    if select.args.get("limit") and limits[1] is not None:
        start = exp.Literal.number(int(limits[1].name) + 1)
        found = exp.Bracket(this=found, expressions=[exp.Slice(this=start)])
    hits = exp.select(exp.Explode(this=found)).from_(rows)
    kept = exp.select("*").from_(ROWS).where(exp.column(ROW).isin(query=hits))
    kept = kept.with_(ROWS, as_=inner, materialized=True)

    outer = select.copy()
    outer.set("from_", wrapped.reading(kept, "__ai_kept"))
    outer.set("joins", None)
    outer.set("where", None)
    if select.args.get("limit"):
        # The rows kept are those of LIMIT and OFFSET: calls in the select list see no other.
        outer.set("order", exp.Order(expressions=[exp.Ordered(this=exp.column(ROW))]))
        outer.set("limit", None)
        outer.set("offset", None)
    hide(listed_stars(outer), [ROW])
    return outer


def _split(select: exp.Select) -> tuple[list[exp.Expr], list[exp.Expr]]:
    """The conjuncts that are AI predicates, from WHERE and the ON of inner joins; the others."""
    predicates: list[exp.Expr] = []
    cheap: list[exp.Expr] = []
    for term in where_terms(select):
        (predicates if _is_predicate(term) else cheap).append(term)
    outer = any(join.side for join in joins(select))
    for join in joins(select):
        on = join.args.get("on")
        if on is None or not asks(on):
            continue
        for term in on_terms(join):
            if outer or not _is_predicate(term):
                if asks(term):
                    return [], []  # a call that decides the join itself
            else:
                predicates.append(term)
    return predicates, cheap


def _keep_cheap(join: exp.Join) -> None:
    on = join.args.get("on")
    if on is None or not asks(on):
        return
    cheap = [term.copy() for term in on_terms(join) if not asks(term)]
    join.set("on", exp.and_(*cheap) if cheap else exp.true())


def _is_predicate(term: exp.Expr) -> bool:
    """`ai.filter(text, 'constant', ...)`, `ai.match(a, b, 'constant', ...)`, or NOT of it."""
    term = term.unnest()
    term = term.this.unnest() if isinstance(term, exp.Not) else term
    call = as_filter(term)
    if call is None:
        return False
    text, options = call
    values = [o.expression if isinstance(o, exp.PropertyEQ) else o for o in options]
    if any(value.find(exp.Column, exp.Placeholder, exp.Parameter) for value in values):
        return False
    return not asks(text) and is_subquery_free(term)


def _first(wanted: exp.Expr, predicates: list[exp.Expr]) -> exp.Expr:
    """`__ai_first(wanted, [{texts, options, negated}, ...], query_id, connection_id)`."""
    entries = []
    for predicate in predicates:
        negated = isinstance(predicate, exp.Not)
        call = as_filter(predicate.this.unnest() if negated else predicate)
        if call is None:
            continue
        text, options = call
        texts = exp.ArrayAgg(
            this=exp.Order(
                this=exp.cast(text.copy(), "VARCHAR"),
                expressions=[exp.Ordered(this=exp.column(ROW))],
            )
        )
        packed = ai_call("_filter_options", *options)
        entries.append(
            exp.Struct(
                expressions=[
                    named(name, value)
                    for name, value in (
                        ("texts", texts),
                        ("options", packed),
                        ("negated", exp.Boolean(this=negated)),
                    )
                ]
            )
        )
    return exp.Anonymous(
        this="__ai_first",
        expressions=[
            wanted,
            exp.Array(expressions=entries),
            exp.Anonymous(this="current_query_id", expressions=[]),
            exp.Anonymous(this="current_connection_id", expressions=[]),
        ],
    )


def _wanted(limits: tuple[exp.Expr | None, exp.Expr | None]) -> exp.Expr:
    """LIMIT plus OFFSET."""
    return exp.Literal.number(sum(int(value.name) for value in limits if value is not None))
