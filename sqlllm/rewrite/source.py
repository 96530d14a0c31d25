"""The rows of a query block before its AI calls, as a table that can stand in FROM.

A block over one table keeps the table's alias: `FROM (SELECT * FROM t WHERE ...) AS t`. A block
over several keeps each table as one column, a struct of its row, named by the alias: `a.x` then
reads a field of the struct where it read a column. That needs every column to be written with
its table, since names aren't looked up; else the block is left as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from sqlllm.rewrite.calls import call_name, volatile
from sqlllm.rewrite.conditions import tables_of
from sqlllm.rewrite.parser import SCALARS
from sqlllm.rewrite.timing import expressions

ROW = "__ai_row"  # the number of a row, from 1, in the order of the block


@dataclass(frozen=True, slots=True)
class Source:
    """What FROM and WHERE become.

    Attributes:
        columns: The select list that carries every column of the block.
        alias: The alias that the new table needs, or None where any will do.
        several: Whether each column is a table's row.
    """

    columns: tuple[exp.Expr, ...]
    alias: exp.Identifier | None
    several: bool

    def reading(self, query: exp.Select, otherwise: str) -> exp.From:
        """FROM of a block that reads `query` instead, by the alias it needs or `otherwise`."""
        alias = self.alias.copy() if self.alias else exp.to_identifier(otherwise)
        return exp.From(this=exp.Subquery(this=query, alias=exp.TableAlias(this=alias)))


def source(select: exp.Select) -> Source | None:
    """How to wrap the block's FROM, or None where that can't be done safely."""
    if select.args.get("from_") is None or select.args.get("laterals"):
        return None
    if any(part.find(exp.PositionalColumn) is not None for part, _ in expressions(select)):
        return None  # the third column of FROM
    tables = tables_of(select)
    lists = exp.Values | exp.Unnest  # in a join they may read the tables before them
    if any(not _plain(t) and not (isinstance(t, lists) and len(tables) == 1) for t in tables):
        return None
    if len(tables) == 1:
        return _one(select, tables[0])
    return _several(select, tables)


def _plain(table: exp.Expr) -> bool:
    """A table or a subquery as it is usually written, without PIVOT or SAMPLE."""
    if not isinstance(table, exp.Table | exp.Subquery):
        return False
    odd = ("pivots", "sample", "joins", "laterals", "version", "when", "ordinality", "hints")
    return not any(table.args.get(name) for name in odd)


def _identifier(table: exp.Expr) -> exp.Identifier | None:
    alias = table.args.get("alias")
    if alias is not None:
        found = alias.this
    elif isinstance(table, exp.Table) and isinstance(table.this, exp.Identifier):
        found = table.this
    else:
        found = None
    return found.copy() if isinstance(found, exp.Identifier) else None


def _one(select: exp.Select, table: exp.Expr) -> Source | None:
    alias = _identifier(table)
    for column in _columns(select):
        named = column.args.get("table")
        if named is not None and (alias is None or named.name.lower() != alias.name.lower()):
            return None
        if column.args.get("db") is not None:
            return None
        if named is None and alias is not None and column.name.lower() == alias.name.lower():
            return None  # may be the row itself
    return Source((exp.Star(),), alias, several=False)


def _several(select: exp.Select, tables: list[exp.Expr]) -> Source | None:
    aliases = [_identifier(table) for table in tables]
    names = [alias.name.lower() for alias in aliases if alias is not None]
    shown = [star for star in stars(select) if not isinstance(star.parent, exp.Count)]
    if len(set(names)) != len(tables) or shown:
        return None
    for join in select.args["joins"]:
        if any(join.args.get(part) for part in ("using", "method")):
            return None
        if join.args.get("kind") in ("SEMI", "ANTI"):
            return None
    for column in _columns(select):
        named = column.args.get("table")
        if named is None or named.name.lower() not in names or column.args.get("db") is not None:
            return None
    columns = tuple(exp.column(alias.copy()) for alias in aliases if alias is not None)
    return Source(columns, None, several=True)


def _columns(select: exp.Select) -> list[exp.Column]:
    """Columns of the block itself; those inside the subqueries of FROM have their own tables."""
    found = [column for top, _ in expressions(select) for column in top.find_all(exp.Column)]
    return [column for column in found if not isinstance(column.this, exp.Star)]


def copied(part: Any) -> Any:
    """A copy of a part of a block: an expression, some, or none."""
    if isinstance(part, list):
        return [each.copy() for each in part]
    return part.copy() if isinstance(part, exp.Expr) else part


def add_cte(select: exp.Select, name: str, query: exp.Select) -> None:
    """Add a materialised CTE behind those of the block, in place; a recursive one stays that."""
    before = select.args.get("with_")
    recursive = before is not None and bool(before.args.get("recursive"))
    select.with_(name, as_=query, materialized=True, recursive=recursive, copy=False)


def hide(stars: Iterable[exp.Star], names: Collection[str]) -> None:
    """Leave columns that a rule has added out of `*`, in place."""
    for star in stars:
        left_out = {column.name: column for column in star.args.get("except_") or ()}
        star.set("except_", list((left_out | {n: exp.column(n) for n in names}).values()))


def listed_stars(select: exp.Select) -> list[exp.Star]:
    """`*` and `t.*` as columns of the select list."""
    return [p if isinstance(p, exp.Star) else p.this for p in select.expressions if p.is_star]


def shows_all(select: exp.Select) -> bool:
    """Whether added columns would be seen where they can't be hidden."""
    fine = {id(star) for star in listed_stars(select)}
    odd = [s for s in stars(select) if id(s) not in fine and not isinstance(s.parent, exp.Count)]
    return bool(odd) or select.find(exp.Columns) is not None  # also COLUMNS(lambda c: true)


def stars(select: exp.Select) -> list[exp.Star]:
    """The stars of the block itself, not those of its subqueries."""
    return [star for star in select.find_all(exp.Star) if star.find_ancestor(exp.Query) is select]


def place_of(at: int, projections: Sequence[exp.Expr], columns: int) -> int | None:
    """Which of a query's columns a projection is; None where that isn't known.

    `*`, COLUMNS(...) and unnest of a struct become any number of columns; what stands before or
    behind all of these can be counted from its end.
    """
    stars = list(map(_is_several, projections))
    if columns == len(projections) and not any(stars):
        return at
    several = [i for i, p in enumerate(projections) if stars[i] or p.find(exp.Unnest, exp.Explode)]
    if not several or at < several[0]:
        return at
    return at - len(projections) if at > several[-1] else None


def _is_several(projection: exp.Expr) -> bool:
    """Whether any number of columns stands there: `*`, `t.*` or COLUMNS(...)."""
    return projection.is_star or projection.find(exp.Columns) is not None


def sort_keys(select: exp.Select) -> list[exp.Ordered] | None:
    """ORDER BY with aliases and ordinals replaced by what they stand for; None if unclear."""
    order = select.args.get("order")
    if order is None:
        return []
    aliases = {p.alias.lower(): p.this for p in select.expressions if isinstance(p, exp.Alias)}
    keys = []
    for key in order.expressions:
        key = key.copy()
        if not isinstance(key, exp.Ordered) or not isinstance(key.this, exp.Expr):
            return None
        target = key.this
        # ALL, * and #2 are columns of the select list, and not of the table below it.
        listed = target.find(exp.Star, exp.Columns, exp.PositionalColumn) is not None
        if listed or isinstance(target, exp.Var):
            return None
        if _names_columns_anew(select) and any(not c.table for c in target.find_all(exp.Column)):
            return None
        meant: exp.Expr | None = None
        if isinstance(target, exp.Literal):
            if target.is_string or any(map(_is_several, select.expressions)):
                return None
            at = int(target.this) - 1
            if not 0 <= at < len(select.expressions):
                return None
            meant = select.expressions[at].unalias()
        elif isinstance(target, exp.Column) and not target.args.get("table"):
            meant = aliases.get(target.name.lower())
        elif any(c.name.lower() in aliases and not c.table for c in target.find_all(exp.Column)):
            return None  # DuckDB lets an alias stand inside an expression too
        if meant is not None:
            if volatile(meant):
                return None  # the rows are sorted by the values that they show
            target.replace(meant.copy())
        keys.append(key)
    return keys


def _names_columns_anew(select: exp.Select) -> bool:
    """Whether a star gives a name, which then goes before that of a column, to something else."""
    found = [star for projection in select.expressions for star in projection.find_all(exp.Star)]
    other = any(star.args.get("replace") or star.args.get("rename") for star in found)
    return other or any(p.find(exp.Columns) is not None for p in select.expressions)


def top(select: exp.Select) -> tuple[exp.Expr | None, exp.Expr | None] | None:
    """LIMIT and OFFSET as whole numbers; None where they are anything else."""
    limit, offset = select.args.get("limit"), select.args.get("offset")
    values = []
    for clause in (limit, offset):
        value = clause.expression if clause is not None else None
        if value is not None and not (isinstance(value, exp.Literal) and value.is_int):
            return None
        values.append(value)
    if limit is not None and not isinstance(limit, exp.Limit):
        return None
    if limit is not None and limit.args.get("limit_options"):
        return None  # a percentage: all rows must be known
    return values[0], values[1]


def is_row_by_row(select: exp.Select) -> bool:
    """Whether each row of the result comes from one row of FROM, all else the same."""
    odd = ("distinct", "group", "having", "qualify", "windows", "connect", "match", "sample")
    if any(select.args.get(name) for name in odd):
        return False
    for projection in select.expressions:
        if projection.find(exp.AggFunc, exp.Window, exp.Explode, exp.Unnest, exp.Query):
            return False
        if not all(map(_is_of_a_row, projection.find_all(exp.Anonymous))):
            return False
    return True


def _is_of_a_row(function: exp.Anonymous) -> bool:
    """Whether a function that sqlglot doesn't know can't be an aggregate: those in `ai` are not."""
    if isinstance(function.parent, exp.Dot):
        return call_name(function.parent) is not None
    return function.name.upper() in SCALARS
