"""When a call of a query block is asked: before grouping, in HAVING, in QUALIFY, or at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlllm.rewrite.calls import ancestors, calls

if TYPE_CHECKING:
    from typing import Self


class Timing(Enum):
    """In the order in which DuckDB evaluates."""

    EARLY = "over the rows that pass WHERE"
    HAVING = "over groups"
    QUALIFY = "over rows with window functions"
    LATE = "over the rows of the result"


CLAUSES = ("expressions", "distinct", "where", "joins", "group", "having", "qualify", "order")


def own_calls(
    select: exp.Select, found: Callable[[exp.Expr], Iterator[exp.Dot]] = calls
) -> Iterator[tuple[exp.Dot, exp.Expr, str]]:
    """The calls of the block itself, not of its subqueries: each with the expression and the
    clause that it is in. `found` may be `group_calls`."""
    for top, part in expressions(select):
        for call in found(top):
            if call.find_ancestor(exp.Query) is select:
                yield call, top, part


def all_calls(select: exp.Select) -> Iterator[exp.Dot]:
    """The calls of the block and of the subqueries in its expressions, not of those in FROM."""
    for top, _ in expressions(select):
        yield from calls(top)


def expressions(select: exp.Select) -> Iterator[tuple[exp.Expr, str]]:
    """The expressions of the block, each with its clause; of joins, what is ON."""
    for part in CLAUSES:
        value = select.args.get(part)
        for top in value if isinstance(value, list) else [value]:
            if isinstance(top, exp.Join):
                top = top.args.get("on")
            if isinstance(top, exp.Expr):
                yield top, part


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides when the calls of a block are evaluated; found out once for all of them.

    Attributes:
        select: The block.
        grouped: As `is_grouped`.
        names: As `_renamed`.
        used: Whether WHERE uses one of the names.
    """

    select: exp.Select
    grouped: bool
    names: frozenset[str]
    used: bool

    @classmethod
    def of(cls, select: exp.Select) -> Self:
        """That of a block."""
        names, where = _renamed(select), select.args.get("where")
        return cls(select, is_grouped(select), names, where is not None and _uses(where, names))

    def timing(self, node: exp.Expr, part: str, top: exp.Expr | None = None) -> Timing | None:
        """When `node`, a call or a condition in the clause `part`, is evaluated; None if unclear.

        Args:
            node: The call, or the condition.
            part: The clause.
            top: The expression of the clause that it is in.
        """
        when = self._timing(node, part, top if top is not None else node)
        if when is Timing.EARLY and (self.used or _uses(node, self.names)):
            # DuckDB lets a projection's name stand for it: only the whole select list defines it.
            return None if self.grouped or self.select.args.get("qualify") else Timing.LATE
        return when

    def _timing(self, node: exp.Expr, part: str, top: exp.Expr) -> Timing:
        if part in ("where", "joins", "group"):
            return Timing.EARLY
        within = list(ancestors(node, top))
        windowed = any(isinstance(a, exp.Window) for a in within)
        aggregated = any(_is_aggregate(a) and not _is_window(a, top) for a in within)
        has_aggregate = self.grouped and node.find(exp.AggFunc) is not None
        has_window = node.find(exp.Window) is not None
        early = aggregated or (windowed and not self.grouped)
        if early and not has_window and not has_aggregate:
            return Timing.EARLY
        if part == "having":
            return Timing.HAVING
        if part == "qualify":
            return Timing.QUALIFY
        if is_key(self.select, top):
            return Timing.EARLY
        late = any(map(self.select.args.get, ("having", "qualify")))
        return Timing.LATE if late or has_window or has_aggregate else Timing.EARLY


def is_grouped(select: exp.Select) -> bool:
    """Whether rows are brought together before the select list."""
    if select.args.get("group") or select.args.get("having"):
        return True
    for part in ("expressions", "order", "qualify"):
        value = select.args.get(part)
        for top in value if isinstance(value, list) else [value] if value is not None else []:
            for node in top.find_all(exp.AggFunc):
                if node.find_ancestor(exp.Query) is select and not _is_window(node, top):
                    return True
    return False


def _renamed(select: exp.Select) -> frozenset[str]:
    """Names that the select list gives to something else than a column of that name."""
    return frozenset(
        p.alias.lower()
        for p in select.expressions
        if isinstance(p, exp.Alias) and p.alias.lower() != p.this.name.lower()
    )


def _is_aggregate(node: exp.Expr) -> bool:
    """Whether it is an aggregate function, or one with FILTER."""
    filtered = isinstance(node, exp.Filter) and not isinstance(node.parent, exp.Window)
    return filtered or isinstance(node, exp.AggFunc)


def _uses(node: exp.Expr, names: frozenset[str]) -> bool:
    return any(not c.table and c.name.lower() in names for c in node.find_all(exp.Column))


def is_key(select: exp.Select, top: exp.Expr) -> bool:
    """Whether a projection is what the block groups by."""
    group = select.args.get("group")
    if group is None:
        return False
    if group.args.get("all"):
        return top.find(exp.AggFunc) is None
    plain = top.unalias()
    for key in group.expressions:
        if isinstance(key, exp.Literal) and not key.is_string:
            at = int(key.this) - 1
            if at < len(select.expressions) and select.expressions[at] is top:
                return True
        elif key == plain or (isinstance(key, exp.Column) and key.name == top.alias):
            return True
    return False


def _is_window(node: exp.Expr, top: exp.Expr) -> bool:
    """Whether an aggregate function is used as a window function."""
    inner = node
    for ancestor in ancestors(node, top):
        if isinstance(ancestor, exp.Window):
            return inner.arg_key == "this"
        if isinstance(ancestor, exp.AggFunc):
            return False
        inner = ancestor
    return False
