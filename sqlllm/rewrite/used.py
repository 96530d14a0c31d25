"""Whether all rows of a query block are used, and which of its columns."""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite.source import stars

ALL = frozenset({"*"})


def used_columns(block: exp.Select) -> frozenset[str] | None:
    """The columns that are used, in lower case (`ALL`: each), or None where not all rows are.

    All rows of the outermost block are used, and those of a subquery or CTE that is read once, in
    a FROM of its own, by a block without conditions.
    """
    node: exp.Expr = block
    while True:
        parent = node.parent
        if parent is None or isinstance(parent, exp.Insert | exp.Copy | exp.Merge):
            return ALL
        if isinstance(parent, exp.Create):
            return ALL if parent.kind == "TABLE" else None
        if isinstance(parent, exp.SetOperation):
            if parent.args.get("limit") and not parent.args.get("order"):
                return None
        elif isinstance(parent, exp.CTE):
            reader = _reader(parent)
            return _of(node, reader) if reader is not None else None
        elif isinstance(parent, exp.From) and isinstance(parent.parent, exp.Select):
            return _of(node, parent.parent)
        elif not isinstance(parent, exp.Subquery):
            return None
        node = parent


def passes_all(reader: exp.Select) -> bool:
    """Whether a block uses each row of the one thing that it reads."""
    parts = ("where", "joins", "laterals", "qualify", "sample")
    if any(reader.args.get(part) for part in parts):
        return False
    return not reader.args.get("limit") or bool(reader.args.get("order"))


def _of(node: exp.Expr, reader: exp.Select) -> frozenset[str] | None:
    """What `reader` uses of the subquery or query `node`."""
    if not passes_all(reader) or used_columns(reader) is not ALL:
        return None
    if any(star.parent is reader for star in stars(reader)):
        return ALL
    query = node.this if isinstance(node, exp.Subquery) else node
    if not isinstance(query, exp.Select):
        return None  # the columns of a set operation have the names of its first part
    return frozenset(column.name.lower() for column in reader.find_all(exp.Column))


def _reader(cte: exp.CTE) -> exp.Select | None:
    """The block that reads a CTE, if there is one only and it reads nothing else."""
    root = cte.root()
    name = cte.alias.lower()
    tables = [t for t in root.find_all(exp.Table) if t.name.lower() == name and not t.db]
    named = [other for other in root.find_all(exp.CTE) if other.alias.lower() == name]
    if len(tables) != 1 or len(named) != 1 or not isinstance(tables[0].parent, exp.From):
        return None
    reader = tables[0].parent.parent
    return reader if isinstance(reader, exp.Select) else None
