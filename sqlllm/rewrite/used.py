"""Whether all rows of a query block are used, and which of its columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlllm.rewrite.source import stars

if TYPE_CHECKING:
    from typing import Self

ALL = frozenset({"*"})


def used_columns(block: exp.Select) -> frozenset[str] | None:
    """The columns that are used, in lower case (`ALL`: each), or None where not all rows are.

    All rows of the outermost block are used, and those of a subquery or CTE that is read once, in
    a FROM of its own, by a block without conditions.
    """
    node: exp.Expr = block
    used: frozenset[str] | None = None
    named: _Named | None = None
    while True:
        parent, reader = node.parent, None
        if parent is None or isinstance(parent, exp.Insert | exp.Copy | exp.Merge):
            return ALL if used is None else used
        if isinstance(parent, exp.Create):
            if parent.kind != "TABLE":
                return None
            return ALL if used is None else used
        if isinstance(parent, exp.SetOperation):
            if parent.args.get("limit") and not parent.args.get("order"):
                return None
        elif isinstance(parent, exp.CTE):
            named = named or _Named.of(block.root())
            reader = named.reader(parent)
            if reader is None:
                return None
        elif isinstance(parent, exp.From) and isinstance(parent.parent, exp.Select):
            reader = parent.parent
        elif not isinstance(parent, exp.Subquery):
            return None
        if reader is not None:
            uses = _of(node, reader)
            if uses is None or (used is not None and uses is not ALL):
                return None
            used = uses if used is None else used
        node = parent if reader is None else reader


def passes_all(reader: exp.Select) -> bool:
    """Whether a block uses each row of the one thing that it reads."""
    parts = ("where", "joins", "laterals", "qualify", "sample")
    if any(reader.args.get(part) for part in parts):
        return False
    return not reader.args.get("limit") or bool(reader.args.get("order"))


def _of(node: exp.Expr, reader: exp.Select) -> frozenset[str] | None:
    """What `reader` uses of the subquery or query `node`, if each of its rows."""
    if not passes_all(reader):
        return None
    if any(star.parent is reader for star in stars(reader)):
        return ALL
    query = node.this if isinstance(node, exp.Subquery) else node
    if not isinstance(query, exp.Select):
        return None  # the columns of a set operation have the names of its first part
    return frozenset(column.name.lower() for column in reader.find_all(exp.Column))


@dataclass(frozen=True, slots=True)
class _Named:
    """The tables and CTEs of a statement by name: found once for all."""

    tables: dict[str, list[exp.Table]]
    ctes: Counter[str]

    @classmethod
    def of(cls, root: exp.Expr) -> Self:
        """Those of a whole tree."""
        tables: dict[str, list[exp.Table]] = {}
        for table in root.find_all(exp.Table):
            if not table.db:
                tables.setdefault(table.name.lower(), []).append(table)
        ctes = Counter(cte.alias.lower() for cte in root.find_all(exp.CTE))
        return cls(tables, ctes)

    def reader(self, cte: exp.CTE) -> exp.Select | None:
        """The block that reads a CTE, if there is one only and it reads nothing else."""
        name = cte.alias.lower()
        tables = self.tables.get(name, [])
        if len(tables) != 1 or self.ctes[name] != 1 or not isinstance(tables[0].parent, exp.From):
            return None
        reader = tables[0].parent.parent
        return reader if isinstance(reader, exp.Select) else None
