"""Names that the select list gives to calls, where a query uses them, become the calls.

DuckDB lets such a name stand for its expression in WHERE, in what follows it in the select list, in
QUALIFY and in expressions of ORDER BY; but not for a call, which carries the number of the query
and is volatile to it ("the expression has side effects"). The same call of the same row has one
answer, and is sent once, wherever it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from sqlglot import exp

from sqlllm.rewrite import Columns
from sqlllm.rewrite.calls import calls, volatile
from sqlllm.rewrite.conditions import tables_of
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.qualify import visible_ctes
from sqlllm.rewrite.source import copied, place_of
from sqlllm.rewrite.timing import is_grouped

Names = Mapping[str, exp.Expr]


def aliases(select: exp.Select, columns: Columns) -> exp.Select:
    """Apply the rule to one query block.

    Args:
        select: The block.
        columns: Where tables are looked up: the name of a column stays the column.
    """
    if not any(isinstance(p, exp.Alias) and _has_own_calls(p, select) for p in select.expressions):
        return select
    new = select.copy()
    taken = None
    used = {c.name.lower() for c in select.find_all(exp.Column) if not c.table}
    given = Counter(p.alias.lower() for p in select.expressions)
    named: dict[str, exp.Expr] = {}
    everywhere = not is_grouped(select)
    replaced = False
    for projection in list(new.expressions):
        if named and everywhere:
            if _is_unclear(projection, named):
                return select
            replaced = _replace(projection, named, new) or replaced
            if sum(1 for _ in islice(projection.walk(), LARGEST + 1)) > LARGEST:
                return select  # names that stand for names may double at every step
        name = projection.alias.lower()
        if not isinstance(projection, exp.Alias) or not _stands_for_a_row(projection, new):
            continue
        if name not in used:
            continue
        taken = _columns_below(select, columns) if taken is None else taken
        if name not in taken and given[name] == 1:
            named[name] = projection.this
    if not named:
        return select
    for part in ("where", "qualify", "order") if everywhere else ("where",):
        for top in _tops(new, part):
            if _is_unclear(top, named):
                return select
            replaced = _replace(top, named, new) or replaced
    if not replaced:
        return select
    _keep_names(new, select, named, columns)
    return new


LARGEST = 1000
"""Nodes of what a column becomes when names in it are replaced."""


def _stands_for_a_row(projection: exp.Alias, select: exp.Select) -> bool:
    """Whether it has a call, of each row by itself."""
    if projection.find(exp.AggFunc, exp.Window) is not None:
        return False
    return _has_own_calls(projection, select) and volatile(projection) is None


def _has_own_calls(node: exp.Expr, select: exp.Select) -> bool:
    return any(call.find_ancestor(exp.Query) is select for call in calls(node))


def _is(column: exp.Column, name: str) -> bool:
    return not column.table and column.name.lower() == name


def _columns_below(select: exp.Select, columns: Columns) -> frozenset[str]:
    """The names of what FROM has, its tables' too; all there are, where that can't be found out."""
    if select.args.get("from_") is None:
        return frozenset()
    tables = {table.alias_or_name.lower() for table in tables_of(select)} | {"rowid"}
    below = exp.Select(expressions=[exp.Star()])
    for part in ("from_", "joins", "laterals"):
        below.set(part, copied(select.args.get(part)))
    known = columns(visible_ctes(select) + below.sql(AiDuckDB))
    if known is None:
        return frozenset(p.alias.lower() for p in select.expressions)
    return frozenset(tables.union(name.lower() for name in known))


def _tops(select: exp.Select, part: str) -> Iterator[exp.Expr]:
    """The expressions of a clause; of ORDER BY those that are more than a name."""
    clause = select.args.get(part)
    for top in clause.expressions if part == "order" and clause else [clause]:
        if top is not None and not (
            isinstance(top, exp.Ordered) and isinstance(top.this, exp.Column)
        ):
            yield top


def _replace(top: exp.Expr, named: Names, select: exp.Select) -> bool:
    """Put calls where their names stand; whether there were any."""
    found = [
        column
        for column in top.find_all(exp.Column)
        if any(_is(column, name) for name in named)
        and column.find_ancestor(exp.Query) is select
        and not _is_another(column)
    ]
    for column in found:
        meant = named[column.name.lower()].copy()
        column.replace(meant if isinstance(meant, exp.Dot) else exp.Paren(this=meant))
    return bool(found)


def _is_unclear(top: exp.Expr, named: Names) -> bool:
    """Whether a name stands where a variable may be meant, or would be caught by one."""
    return any(
        not _is_another(column)
        for inner in top.find_all(exp.Lambda, exp.Comprehension)
        for column in inner.find_all(exp.Column)
        if any(_is(column, name) for name in named)
    )


def _is_another(column: exp.Column) -> bool:
    """Whether the name is of an option, or a lambda's parameter."""
    if isinstance(column.parent, exp.PropertyEQ) and column.arg_key == "this":
        return True
    function = column.find_ancestor(exp.Lambda)
    while function is not None:
        if column.name.lower() in (parameter.name.lower() for parameter in function.expressions):
            return True
        function = function.find_ancestor(exp.Lambda)
    return False


def _keep_names(new: exp.Select, select: exp.Select, named: Names, columns: Columns) -> None:
    """Name columns without a name as DuckDB would, which it does where the calls are constants."""
    plain = select.copy()
    plain.set("with_", None)  # it is among the visible ones
    for projection in plain.expressions:
        if projection.alias.lower() in named:
            projection.set("this", exp.Null())
    known: Sequence[str] | None = None
    for at, (old, now) in enumerate(zip(select.expressions, new.expressions, strict=True)):
        if old.is_star or isinstance(now, exp.Alias | exp.Column):
            continue
        name = old.name
        if not isinstance(old, exp.Column):
            known = columns(visible_ctes(select) + plain.sql(AiDuckDB)) if known is None else known
            place = place_of(at, select.expressions, len(known or ()))
            if place is None:
                continue  # it may be several
            name = known[place] if known else old.sql(AiDuckDB, normalize_functions="lower")
        now.replace(exp.alias_(now.copy(), name, quoted=True))
