"""SQL in, SQL out: a query that asks a model about fewer rows, and gives the same result.

A rule is a pure function of one query block; the pipeline is a tuple. What a rule can't prove
safe it leaves as it stands, and a statement that no rule changes keeps the user's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.rewrite.names import names

if TYPE_CHECKING:
    from sqlglot import exp

RULES = ("names", "guards", "after_limit", "early_stop", "gather")
"""The rules, in the order in which they are applied."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: as the user wrote it, names aside, and as DuckDB gets it."""

    original: str
    sql: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What became of a script.

    Attributes:
        original: The user's text.
        sql: What DuckDB gets.
        fired: The rules that changed something, in order.
        notes: Why a statement was left as it stands, where that is known.
        statements: One by one, where a rule changed any of them.
    """

    original: str
    sql: str
    fired: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def rewritten(self) -> bool:
        """Whether any statement reads differently, names aside."""
        return bool(self.statements)

    def __str__(self) -> str:
        """For a person to read."""
        rules = ", ".join(self.fired) or "none"
        return "\n".join([self.sql, f"-- rules: {rules}", *(f"-- {note}" for note in self.notes)])


def rules(wanted: bool | Collection[str]) -> frozenset[str]:
    """The rules that are on: all for True, none for False, or those named.

    Raises:
        ConfigError: A name is not a rule's.
    """
    if isinstance(wanted, bool):
        return frozenset(RULES) if wanted else frozenset()
    for name in wanted:
        if name not in RULES:
            msg = f"unknown rule {name!r}"
            raise ConfigError(msg, hint=did_you_mean(name, RULES))
    return frozenset(wanted)


def plan(
    sql: str,
    functions: Mapping[str, Sequence[str]],
    on: Collection[str] = RULES,
    *,
    lazy: bool = False,
) -> Plan:
    """Rewrite one or more statements.

    Args:
        sql: The user's text.
        functions: Name -> argument names of everything in `ai`.
        on: The names of the rules to apply.
        lazy: Whether the last statement's rows may be fetched in part only.

    Raises:
        UnknownFunction: A call of something that is not in `ai`.
        UnknownArgument: A named argument that the function doesn't have.
    """
    fired: list[str] = []
    notes: list[str] = []
    text = names(sql, functions) if "names" in on else sql
    if text != sql:
        fired.append("names")
    if "ai." not in text.lower() or not set(on) - {"names"}:
        return Plan(sql, text, tuple(fired))
    statements = []
    texts = _statements(text)
    for i, statement in enumerate(texts, 1):
        tree = _parse(statement, notes)
        done = _apply(tree, on, lazy and i == len(texts)) if tree is not None else []
        statements.append(Statement(statement, tree.sql("duckdb") if done else statement))
        fired += [name for name in done if name not in fired]
    if all(statement.sql == statement.original for statement in statements):
        return Plan(sql, text, tuple(fired), tuple(notes))
    made = ";\n".join(statement.sql for statement in statements)
    return Plan(sql, made, tuple(fired), tuple(notes), tuple(statements))


def _statements(sql: str) -> list[str]:
    """The text of each statement."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(sql, dialect="duckdb")
    except SqlglotError:
        return [sql]
    pieces, start, empty = [], 0, True
    for token in tokens:
        if token.token_type.name != "SEMICOLON":
            empty = False
            continue
        if not empty:
            pieces.append(sql[start : token.start])
        start, empty = token.start + 1, True
    return pieces if empty else [*pieces, sql[start:]]  # what is left may be a comment


def _parse(statement: str, notes: list[str]) -> Any:
    if "ai." not in statement.lower():
        return None
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(statement, dialect="duckdb")
    except SqlglotError:
        notes.append("left as it stands: sqlglot can't parse the statement")
        return None
    if any(with_.args.get("recursive") for with_ in tree.find_all(sqlglot.exp.With)):
        notes.append("left as it stands: WITH RECURSIVE")
        return None
    if any(holder.this is None for holder in tree.find_all(sqlglot.exp.Placeholder)):
        notes.append("left as it stands: `?` parameters have an order; write $1, $2")
        return None
    return tree


def _apply(tree: Any, on: Collection[str], lazy: bool) -> list[str]:
    """Change the tree in place, innermost blocks first; the names of the rules that fired."""
    from sqlglot import exp

    from sqlllm.rewrite.after_limit import after_limit
    from sqlllm.rewrite.early_stop import early_stop
    from sqlllm.rewrite.gather import Gatherer
    from sqlllm.rewrite.guard import cheap_first
    from sqlllm.rewrite.used import used_columns
    from sqlllm.rewrite.writes import gather_write

    def enough(block: exp.Select) -> exp.Select:
        used = used_columns(block)
        return gatherer.gather(block, used) if used is not None else block

    gatherer = Gatherer(count(1), lazy)
    fired: list[str] = []
    passes: tuple[dict[str, Callable[[exp.Select], exp.Select]], ...] = (
        {"guards": cheap_first},
        {"after_limit": after_limit, "early_stop": early_stop},
        {"gather": enough},
    )
    for step in passes:
        for block in reversed(list(tree.find_all(exp.Select))):
            alone = "guards" in step or _stands_alone(block)
            for name, rule in step.items():
                new = rule(block) if alone and name in on else block
                if new is not block:
                    fired += [name] if name not in fired else []
                    _replace(block, new)
                    break
    if (
        "gather" in on
        and isinstance(tree, exp.Update | exp.Delete)
        and gather_write(tree, gatherer)
    ):
        fired.append("gather")
    return fired


def _replace(block: exp.Select, new: exp.Select) -> None:
    from sqlglot import exp

    if block.parent is None:  # the tree itself
        block.args.clear()
        for part, value in list(new.args.items()):
            block.set(part, value)
    elif isinstance(block.parent, exp.SetOperation) and new.args.get("with_"):
        block.replace(new.subquery(copy=False))
    else:
        block.replace(new)


def _stands_alone(block: exp.Select) -> bool:
    """Whether no row outside can be meant: not within an expression, a JOIN or a LATERAL.

    DuckDB lets any derived table but the first of its FROM refer to the tables before it.
    """
    from sqlglot import exp

    node: exp.Expr = block
    while (parent := node.parent) is not None:
        inside = exp.Subquery | exp.SetOperation | exp.CTE | exp.With | exp.From
        if isinstance(parent, exp.Select):
            if not isinstance(node, exp.From | exp.With):
                return False
        elif isinstance(parent, exp.Insert | exp.Create | exp.Copy):
            return True
        elif not isinstance(parent, inside):
            return False
        node = parent
    return True
