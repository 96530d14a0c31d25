"""Whether all rows of a query block are used, and which of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlglot import exp

from sqlllm.rewrite.source import stars

ALL = frozenset({"*"})

USED = "used"
"""The mark on a block; a copy has it too, and what a rule makes of the block."""

Readers = Mapping[str, exp.Select]


def used_columns(block: exp.Select) -> frozenset[str] | None:
    """The columns that are used, in lower case (`ALL`: each), or None where not all rows are.

    As the user wrote the statement (`mark_used`): what is gathered reads all rows once more.
    """
    found: frozenset[str] | None = block.meta.get(USED)
    return found


def mark_used(tree: exp.Expr) -> None:
    """Find out what of each block is used.

    All rows of the outermost block are used, and those of a subquery or CTE that is read once, in
    a FROM of its own, by a block without conditions.
    """
    readers = _readers(tree)
    for block in tree.find_all(exp.Select):
        block.meta[USED] = _used(block, readers)


def _used(block: exp.Select, readers: Readers) -> frozenset[str] | None:
    node: exp.Expr = block
    used: frozenset[str] | None = None
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
            reader = readers.get(parent.alias.lower())
            if reader is None:
                return None
        elif isinstance(parent, exp.From) and isinstance(parent.parent, exp.Select):
            reader = parent.parent
        elif not isinstance(parent, exp.Subquery):
            return None
        if reader is not None:
            uses = _of(node, reader)
            if uses is None or (used is not None and uses != ALL):
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


def _readers(tree: exp.Expr) -> Readers:
    """By the name of each CTE the block that reads it, if there is one only and no other CTE."""
    ctes = Counter(cte.alias.lower() for cte in tree.find_all(exp.CTE))
    tables: dict[str, list[exp.Table]] = {}
    for table in tree.find_all(exp.Table):
        if not table.db:
            tables.setdefault(table.name.lower(), []).append(table)
    readers = {}
    for name, (table, *others) in tables.items():
        reader = table.parent.parent if isinstance(table.parent, exp.From) else None
        if isinstance(reader, exp.Select) and not others and ctes[name] == 1:
            readers[name] = reader
    return readers
