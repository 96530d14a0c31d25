"""Subqueries in FROM that must be read once only: gathering reads what a block reads twice.

One with LIMIT may give other rows the second time, and one with calls would ask twice. It becomes
a materialised CTE, where the block reads it whole; else the block can't be gathered for.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from sqlllm.rewrite.calls import asks
from sqlllm.rewrite.conditions import tables_of
from sqlllm.rewrite.search import searches
from sqlllm.rewrite.source import add_cte, copied
from sqlllm.rewrite.used import ALL, passes_all, used_columns

CHUNK = 2048  # rows that DuckDB hands to a UDF at once: gathering fewer makes no batch larger


def reads_often(select: exp.Select) -> bool:
    """Whether all that the block reads can be read twice, once `once` has been applied."""
    from_ = select.args["from_"]
    others = [*tables_of(select)[1:], *(select.args.get("laterals") or ())]
    if any(_is_once(other) for other in others):
        return False
    if not _is_once(from_):
        return True
    query = _query(from_)
    limit = query.args.get("limit") if query is not None else None
    most = [limit.expression] if isinstance(limit, exp.Limit) else []
    most += [first.expressions[0] for first in _firsts(from_)]
    if any(isinstance(n, exp.Literal) and n.is_int and int(n.this) <= CHUNK for n in most):
        return False
    if query is None or others or not passes_all(select):
        return False
    used = used_columns(query)
    if used is None:
        return not asks(query)
    asking = [projection for projection in query.expressions if asks(projection)]
    return used == ALL or all(p.alias_or_name.lower() in used for p in asking)


def once(select: exp.Select, numbers: Iterator[int]) -> None:
    """Make a CTE of what must be read once, in place."""
    table = select.args["from_"].this
    if not _is_once(table):
        return
    if isinstance(table, exp.Subquery):
        name = f"__ai_{next(numbers)}"
        add_cte(select, name, table.this.copy())
        named = exp.to_table(name)
        named.set("alias", copied(table.args.get("alias")))  # also the names of its columns
        table.replace(named)


def _is_once(node: exp.Expr) -> bool:
    """Whether it holds a query with LIMIT or with calls, also by the name of a CTE."""
    for table in node.find_all(exp.Table):
        cte = cte_of(table)
        if cte is not None and (asks(cte) or _has_limit(cte) or any(searches(cte))):
            return True
    return asks(node) or _has_limit(node) or bool(_firsts(node)) or any(searches(node))


def _has_limit(node: exp.Expr) -> bool:
    return any(query.args.get("limit") for query in node.find_all(exp.Query))


def _firsts(node: exp.Expr) -> list[exp.Anonymous]:
    """What the rule early_stop made."""
    return [f for f in node.find_all(exp.Anonymous) if f.name.lower() == "__ai_first"]


def _query(from_: exp.From) -> exp.Select | None:
    table = from_.this
    if isinstance(table, exp.Subquery) and isinstance(table.this, exp.Select):
        return table.this
    cte = cte_of(table) if isinstance(table, exp.Table) else None
    return cte.this if cte is not None and isinstance(cte.this, exp.Select) else None


def cte_of(table: exp.Table) -> exp.CTE | None:
    """The CTE that a table names, or None."""
    node: exp.Expr | None = table
    while node is not None and not table.db:
        with_ = node.args.get("with_")
        for cte in with_.expressions if with_ is not None else ():
            if cte.alias.lower() == table.name.lower():
                return cte if isinstance(cte, exp.CTE) else None
        node = node.parent
    return None
