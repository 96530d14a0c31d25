"""UPDATE and DELETE, as the query over the rows that they change."""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.gather import Gatherer
from sqlllm.rewrite.source import copied
from sqlllm.rewrite.used import mark_used


def as_select(tree: exp.Update | exp.Delete) -> exp.Select:
    """The new values, over the rows that are changed."""
    sources = tree.args.get("using") or []
    if isinstance(tree, exp.Update) and tree.args.get("from_") is not None:
        sources = [tree.args["from_"].this]
    values = [value.expression for value in tree.expressions if isinstance(value, exp.EQ)]
    select = exp.Select(expressions=[v.copy() for v in values] or [exp.Literal.number(1)])
    select.set("from_", exp.From(this=tree.this.copy()))
    for table in sources:
        plain, others = table.copy(), table.args.get("joins") or ()
        plain.set("joins", None)
        for join in (exp.Join(this=plain), *others):
            select.append("joins", join.copy())
    for part in ("with_", "where"):
        select.set(part, copied(tree.args.get(part)))
    mark_used(select)
    return select


def gather_write(tree: exp.Update | exp.Delete, gatherer: Gatherer) -> bool:
    """Apply the rule `gather` in place; whether it changed anything."""
    select = as_select(tree)
    new = gatherer.gather(select)
    if new is select:
        return False
    tree.set("with_", new.args.get("with_"))
    tree.set("where", new.args.get("where"))
    return True
