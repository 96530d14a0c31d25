"""SQL in, SQL out: a query that asks a model about fewer rows, and gives the same result.

A rule is a pure function of one query block; the pipeline is a tuple. What a rule can't prove
safe it leaves as it stands, and a statement that no rule changes keeps the user's own text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.rewrite.aggregates import aggregates
from sqlllm.rewrite.names import Functions, names

Columns = Callable[[str], Sequence[str] | None]
"""The names of a query's columns, in order; None where DuckDB can't bind it."""

RULES = (
    "names", "aggregates", "aliases", "guards", "candidates", "windows", "after_limit",
    "early_stop", "search", "gather",
)  # fmt: skip
"""The rules, in the order in which they are applied."""

TEXTUAL = frozenset({"names", "aggregates"})
"""Those that a statement keeps even where DuckDB refuses what the others make of it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: as the user wrote it, names and aggregates aside, and as DuckDB gets it."""

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
        statements: One by one, where the script may have calls.
    """

    original: str
    sql: str
    fired: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()

    @property
    def rewritten(self) -> bool:
        """Whether any statement reads differently, names and aggregates aside."""
        return any(statement.sql != statement.original for statement in self.statements)

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
    if isinstance(wanted, str) or not isinstance(wanted, Collection):
        msg = f"rewrite must be true, false or a list of rules, not {wanted!r}"
        raise ConfigError(msg)
    for name in wanted:
        if name not in RULES:
            msg = f"unknown rule {name!r}"
            raise ConfigError(msg, hint=did_you_mean(name, RULES))
    return frozenset(wanted)


def _unknown(_query: str) -> None:
    return None


def plan(
    sql: str,
    functions: Functions,
    on: Collection[str] = RULES,
    *,
    columns: Columns = _unknown,
    lazy: bool = False,
) -> Plan:
    """Rewrite one or more statements.

    Args:
        sql: The user's text.
        functions: The arguments of everything in `ai`.
        on: The names of the rules to apply.
        columns: The names of a query's columns, or None; where the tables are.
        lazy: Whether the last statement's rows may be fetched in part only.

    Raises:
        UnknownFunction: A call of something that is not in `ai`.
        UnknownArgument: A named argument that the function doesn't have.
        CallError: An argument is missing.
    """
    sql = sql.removeprefix("\ufeff")  # which editors on Windows write, and sqlglot can't read
    fired: list[str] = []
    notes: list[str] = []
    text = names(sql, functions) if "names" in on else sql
    if text != sql:
        fired.append("names")
    if "aggregates" in on and (opened := aggregates(text)) != text:
        fired.append("aggregates")
        text = opened
    if "ai." not in text.lower() or not set(on) - TEXTUAL:
        return Plan(sql, text, tuple(fired))
    from sqlllm.rewrite.script import split
    from sqlllm.rewrite.statement import rewrite

    statements = []
    texts = split(text)
    for i, statement in enumerate(texts, 1):
        result, done = rewrite(statement, on, columns, notes, lazy=lazy and i == len(texts))
        statements.append(Statement(statement, result))
        fired += [name for name in done if name not in fired]
    made = Plan(sql, text, tuple(fired), tuple(notes), tuple(statements))
    script = ";\n".join(statement.sql for statement in statements)
    return replace(made, sql=script) if made.rewritten else made
