"""Which table a column belongs to, looked up where DuckDB would find it.

`source` wraps a join only where every column is written with its table. Here columns without one
get theirs, `USING (k)` becomes `ON a.k = b.k`, `*` the columns it stands for, and a name that the
select list gives what it is given to; what is not found in exactly one place is left, and with it
the block.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from sqlllm.rewrite import Columns
from sqlllm.rewrite.calls import asks, volatile
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.source import stars
from sqlllm.rewrite.timing import expressions


@dataclass(frozen=True, slots=True)
class _Table:
    alias: exp.Identifier
    columns: tuple[str, ...]

    def column(self, name: str) -> exp.Column:
        """`alias.name`, as the table spells it."""
        spelled = next((c for c in self.columns if c.lower() == name.lower()), name)
        plain = spelled.isidentifier() and spelled == name
        return exp.column(exp.to_identifier(spelled, quoted=not plain), table=self.alias.copy())

    def has(self, name: str) -> bool:
        """Whether the table has a column of that name."""
        return name.lower() in (column.lower() for column in self.columns)


def qualified(select: exp.Select, columns: Columns) -> exp.Select | None:
    """A copy of a block over several tables with all columns written out, or None."""
    if not select.args.get("joins") or select.args.get("laterals"):
        return None
    new = select.copy()
    tables = _tables(select, columns)
    for i, item in enumerate([new.args["from_"], *new.args["joins"]]):
        if _is_file(item.this):
            item.this.set("alias", exp.TableAlias(this=_of_file(i)))
    if tables is None or not _write_out_keys(new):
        return None
    if not _write_out_using(new, tables) or not _expand(new, tables):
        return None
    if any(top.find(exp.Comprehension) is not None for top, _ in expressions(new)):
        return None  # its variable may have the name of a column
    given = _given(new)
    for column in [c for c in _own_columns(new) if not c.table]:
        owners = [table for table in tables if table.has(column.name)]
        meant = given.get(column.name.lower())
        if len(owners) == 1:
            column.replace(owners[0].column(column.name))
        elif owners or meant is None or volatile(meant) or _is_within(column, new.expressions):
            return None
        else:
            column.replace(exp.paren(meant.copy()))
    return new


def _given(select: exp.Select) -> dict[str, exp.Expr]:
    """What the select list gives a name to."""
    return {p.alias.lower(): p.this for p in select.expressions if isinstance(p, exp.Alias)}


def _is_within(column: exp.Column, projections: list[exp.Expr]) -> bool:
    return any(part is column for p in projections for part in p.find_all(exp.Column))


def _write_out_keys(select: exp.Select) -> bool:
    """Names that are keys of ORDER BY: there those of the select list go before columns."""
    order, given = select.args.get("order"), _given(select)
    for key in order.expressions if order is not None else ():
        if isinstance(key.this, exp.Column) and not key.this.table:
            meant = given.get(key.this.name.lower())
            if meant is not None and volatile(meant):
                return False
            if meant is not None:
                key.set("this", meant.copy())
    return True


def _tables(select: exp.Select, columns: Columns) -> list[_Table] | None:
    with_ = visible_ctes(select)
    found = []
    for i, item in enumerate([select.args["from_"], *select.args["joins"]]):
        table = item.this
        alias = table.args.get("alias")
        name = alias.this if alias is not None else table.this
        if _is_file(table):
            name = _of_file(i)
        if not isinstance(name, exp.Identifier) or (alias is not None and alias.columns):
            return None
        known = columns(f"{with_}SELECT * FROM {table.sql(AiDuckDB)}")
        if known is None or len({c.lower() for c in known}) < len(known):
            return None
        found.append(_Table(name, tuple(known)))
    return found


def _is_file(table: exp.Expr) -> bool:
    """Whether it is a file without an alias: its columns are not written with its path."""
    name = table.this if isinstance(table, exp.Table) and not table.args.get("alias") else None
    return isinstance(name, exp.Identifier) and bool(name.quoted) and "." in name.name


def _of_file(number: int) -> exp.Identifier:
    return exp.to_identifier(f"__ai_file{number}")


def visible_ctes(select: exp.Select, *, asking: bool = True) -> str:
    """WITH ... of the block and of those around it, outermost first; `asking` with calls too."""
    ctes: list[exp.CTE] = []
    recursive = ""
    node: exp.Expr | None = select
    while node is not None:
        with_ = node.args.get("with_")
        if with_ is not None and with_.args.get("recursive"):
            recursive = "RECURSIVE "
        ctes = [*(with_.expressions if with_ is not None else ()), *ctes]
        if isinstance(node, exp.CTE):  # sees those before it
            parent = node.parent
            before = parent.expressions[: node.index] if isinstance(parent, exp.With) else []
            ctes = [*before, *ctes]
            if isinstance(parent, exp.With) and parent.args.get("recursive"):
                recursive = "RECURSIVE "
            node = parent.parent if parent is not None else None
            node = node.parent if node is not None else None
        else:
            node = node.parent
    texts = [cte.sql(AiDuckDB) for cte in ctes if asking or not asks(cte)]
    return f"WITH {recursive}{', '.join(texts)} " if texts else ""


def _write_out_using(select: exp.Select, tables: list[_Table]) -> bool:
    for i, join in enumerate(select.args["joins"], 1):
        names = join.args.get("using") or []
        if not names:
            continue
        if join.side in ("RIGHT", "FULL") or join.args.get("method") or join.kind:
            return False
        terms = []
        for name in names:
            left = [table for table in tables[:i] if table.has(name.name)]
            if len(left) != 1:
                return False
            pair = left[0].column(name.name), tables[i].column(name.name)
            terms.append(exp.EQ(this=pair[0], expression=pair[1]))
            for column in [c for c in _own_columns(select) if not c.table]:
                if column.name.lower() == name.name.lower():
                    column.replace(pair[0].copy())
        join.set("using", None)
        join.set("on", exp.and_(*terms, copy=False))
        if any(star.parent is select for star in stars(select)):
            return False  # shows the column once
    return True


def _expand(select: exp.Select, tables: list[_Table]) -> bool:
    """`*` and `a.*` in the select list to the columns they stand for."""
    projections: list[exp.Expr] = []
    for projection in select.expressions:
        table = projection.table if isinstance(projection, exp.Column) else None
        star = projection.this if isinstance(projection, exp.Column) else projection
        if not isinstance(star, exp.Star):
            projections.append(projection)
            continue
        if any(star.args.get(part) for part in ("except_", "replace", "rename")):
            return False
        meant = [t for t in tables if not table or t.alias.name.lower() == table.lower()]
        projections += [t.column(name) for t in meant for name in t.columns]
    select.set("expressions", projections)
    return True


def _own_columns(select: exp.Select) -> list[exp.Column]:
    """The columns of the block itself, not those of its subqueries."""
    found = [column for top, _ in expressions(select) for column in top.find_all(exp.Column)]
    return [
        column
        for column in found
        if not isinstance(column.this, exp.Star) and column.find_ancestor(exp.Query) is select
    ]
