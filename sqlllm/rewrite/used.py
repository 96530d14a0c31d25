"""Whether all rows of a query block are used, and which of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sqlglot import exp
from sqlglot.helper import ensure_list

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
    a FROM of its own, by a block without conditions whose rows are all used.
    """
    readers, found = _readers(tree), dict[int, frozenset[str] | None]()
    for block in tree.find_all(exp.Select):
        chain = [block]  # each is read by the next
        read = []  # as what
        while id(chain[-1]) not in found:
            node, reader = _read(chain[-1], readers)
            # None also ends the chain of a CTE that only reads itself
            found[id(chain[-1])] = ALL if reader is None and _is_result(node) else None
            if reader is not None:
                chain.append(reader)
                read.append(node)
        for node, each, reader in zip(read[::-1], chain[-2::-1], chain[:0:-1], strict=True):
            found[id(each)] = _of(node, reader, found[id(reader)])
        block.meta[USED] = found[id(block)]


def _read(block: exp.Select, readers: Readers) -> tuple[exp.Expr, exp.Select | None]:
    """As what a block is read, by itself or within a set operation, and by which one, if any."""
    node: exp.Expr = block
    while True:
        parent = node.parent
        if isinstance(parent, exp.CTE):
            return node, readers.get(parent.alias.lower())
        if isinstance(parent, exp.From) and isinstance(parent.parent, exp.Select):
            return node, parent.parent
        if not isinstance(parent, exp.Subquery | exp.SetOperation) or _is_cut(parent):
            return node, None
        node = parent


def _is_cut(query: exp.Expr) -> bool:
    """Whether it has a LIMIT, but no ORDER BY, which needs all rows."""
    return bool(query.args.get("limit")) and not query.args.get("order")


def _is_result(node: exp.Expr) -> bool:
    """Whether it is what the statement gives or writes."""
    parent = node.parent
    if isinstance(parent, exp.Create):
        return str(parent.kind) == "TABLE"
    return parent is None or isinstance(parent, exp.Insert | exp.Copy | exp.Merge)


def passes_all(reader: exp.Select) -> bool:
    """Whether a block uses each row of the one thing that it reads."""
    parts = ("where", "joins", "laterals", "qualify", "sample")
    if any(reader.args.get(part) for part in parts):
        return False
    return not _is_cut(reader)


def _of(node: exp.Expr, reader: exp.Select, used: frozenset[str] | None) -> frozenset[str] | None:
    """What `reader`, of which this is used, uses of `node`, if each of its rows."""
    if used is None or not passes_all(reader):
        return None
    starred = [star for star in stars(reader) if star.parent is reader]
    if starred and (used == ALL or any(filter(None, starred[0].args.values()))):
        return ALL if used == ALL else None  # with EXCLUDE, REPLACE or RENAME
    query = node.this if isinstance(node, exp.Subquery) else node
    renamed = node.alias_column_names or (node.parent or node).alias_column_names
    if not isinstance(query, exp.Select) or renamed:
        return None  # its columns have the names of a list, or of the first part
    every = used == ALL or reader.args.get("distinct")
    parts = [p for p in reader.expressions if every or p.alias_or_name.lower() in used]
    for name in ("distinct", "group", "having", "windows", "order"):
        parts += ensure_list(reader.args.get(name))
    names = {column.name.lower() for part in parts for column in part.find_all(exp.Column)}
    return frozenset(names | used if starred else names)


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
