"""The conditions of a query block: WHERE and ON, term by term."""

from __future__ import annotations

from sqlglot import exp


def conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    """The terms of an AND, without their parentheses."""
    found, left = [], [condition]
    while left:
        inner = left.pop().unnest()
        if isinstance(inner, exp.And):  # a thousand of them are as deep as Python goes
            left += [inner.expression, inner.this]
        else:
            found.append(inner)
    return found


def terms(select: exp.Select) -> list[exp.Expr]:
    """The terms of WHERE and of each ON, in this order."""
    return [*where_terms(select), *(term for join in joins(select) for term in on_terms(join))]


def where_terms(select: exp.Select) -> list[exp.Expr]:
    """The terms of WHERE."""
    where = select.args.get("where")
    return conjuncts(where.this) if where is not None else []


def on_terms(join: exp.Join) -> list[exp.Expr]:
    """The terms of ON."""
    on = join.args.get("on")
    return conjuncts(on) if on is not None else []


def joins(select: exp.Select) -> list[exp.Join]:
    """The joins of the block."""
    return select.args.get("joins") or []


def tables_of(select: exp.Select) -> list[exp.Expr]:
    """What FROM reads, and each join."""
    return [select.args["from_"].this, *(join.this for join in joins(select))]


def are_inner(select: exp.Select) -> bool:
    """Whether all joins are inner joins, so that ON is as good as WHERE."""
    return not any(
        j.side or j.args.get("method") or j.kind in ("SEMI", "ANTI") for j in joins(select)
    )


def take_out(select: exp.Select, term: exp.Expr) -> None:
    """Remove one of `terms(select)`, in place."""
    owners: list[tuple[exp.Expr, str]] = [(select, "where"), *((j, "on") for j in joins(select))]
    for owner, part in owners:
        clause = owner.args.get(part)
        condition = clause.this if isinstance(clause, exp.Where) else clause
        found = conjuncts(condition) if condition is not None else []
        if all(t is not term for t in found):
            continue
        kept = [t.copy() for t in found if t is not term]
        rest = exp.and_(*kept, copy=False) if kept else None
        if part == "where":
            owner.set(part, exp.Where(this=rest) if rest is not None else None)
        else:
            owner.set(part, rest if rest is not None else exp.true())
