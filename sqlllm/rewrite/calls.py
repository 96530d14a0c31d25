"""Which expressions ask a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlglot import exp

from sqlllm.rewrite.aggregates import OVER_LISTS

# Functions of the catalog `ai` that never send anything to a model.
FREE = frozenset(
    {"count_tokens", "try_count_tokens", "prompt", "rrf", "split_text", "try_split_text"}
)

VOLATILE = frozenset(
    {"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "nextval", "currval"}
)
"""Functions of DuckDB's that give another value each time."""

# What aggregates become: they ask about a group, once it is whole.
OF_GROUPS = frozenset(OVER_LISTS.values())


def call_name(node: exp.Expr | None) -> str | None:
    """`filter` for `ai.filter(...)`; None for anything else."""
    if not isinstance(node, exp.Dot) or not isinstance(node.expression, exp.Func):
        return None
    if not isinstance(node.this, exp.Identifier) or node.this.name.lower() != "ai":
        return None
    name: str = node.expression.name if isinstance(node.expression, exp.Anonymous) else ""
    return (name or node.expression.sql_name()).lower()


def volatile(node: exp.Expr) -> str | None:
    """The name of a function in it that gives another value each time, or None."""
    names = (function.name.lower() for function in node.find_all(exp.Anonymous))
    return next((name for name in names if name in VOLATILE), None)


def asks(node: exp.Expr | None) -> bool:
    """Whether evaluating this expression may send something to a model."""
    return node is not None and (any(True for _ in calls(node)) or asks_of_groups(node))


def asks_of_groups(node: exp.Expr) -> bool:
    """Whether it holds an aggregate that asks a model."""
    return any(True for _ in group_calls(node))


def group_calls(node: exp.Expr) -> Iterator[exp.Dot]:
    """The calls in an expression that ask a model about a group."""
    for dot in node.find_all(exp.Dot):
        if call_name(dot) in OF_GROUPS:
            yield dot


def calls(node: exp.Expr) -> Iterator[exp.Dot]:
    """The calls in an expression that ask a model about a row."""
    for dot in node.find_all(exp.Dot):
        name = call_name(dot)
        if name is not None and name not in FREE | OF_GROUPS and not name.startswith("_"):
            yield dot


def is_staged(call: exp.Dot) -> bool:
    """Whether the rewriter says when it is asked."""
    return option(call.expression.expressions, "_stage") is not None


def ancestors(node: exp.Expr, top: exp.Expr) -> Iterator[exp.Expr]:
    """From the parent up to `top`, which is included."""
    while node is not top and node.parent is not None:
        node = node.parent
        yield node


def is_of_element(call: exp.Expr) -> bool:
    """Whether it may be asked of a list's elements, whose name means nothing outside."""
    return call.find_ancestor(exp.Lambda, exp.Comprehension) is not None


def is_subquery_free(node: exp.Expr) -> bool:
    """Whether an expression can be moved without moving a query with it."""
    return node.find(exp.Query, exp.Subquery) is None


def as_filter(call: exp.Expr) -> tuple[exp.Expr, list[exp.Expr]] | None:
    """Text and options of `ai.filter`, also where it is written as `ai.match`; else None."""
    name = call_name(call)
    arguments = call.expression.expressions if name in ("filter", "match") else []
    wanted = {"filter": 2, "match": 3}.get(name or "", 0)
    if len(arguments) < wanted or not wanted:
        return None
    if any(isinstance(argument, exp.PropertyEQ) for argument in arguments[:wanted]):
        return None
    if name == "filter":
        return arguments[0], list(arguments[1:])
    a, b, relation, *options = arguments
    return ai_call("_pair", a, b), [ai_call("_relation", relation), *without_strategy(options)]


def without_strategy(options: Sequence[exp.Expr]) -> list[exp.Expr]:
    """The options of ai.match that ai.filter has too."""
    return [o for o in options if not any(is_named(o, name) for name in ("strategy", "recall"))]


def is_named(argument: exp.Expr, name: str) -> bool:
    """Whether an argument is written as `name := ...`."""
    return isinstance(argument, exp.PropertyEQ) and argument.this.name.lower() == name


def option(arguments: Sequence[exp.Expr], name: str) -> exp.Expr | None:
    """The value of the argument `name := ...`, or None."""
    return next((a.expression for a in arguments if is_named(a, name)), None)


def named(name: str, value: exp.Expr) -> exp.PropertyEQ:
    """`name := value`."""
    return exp.PropertyEQ(this=exp.to_identifier(name), expression=value)


def ai_call(name: str, *arguments: exp.Expr) -> exp.Expr:
    """`ai.name(...)` of copies of the arguments."""
    copies = [argument.copy() for argument in arguments]
    return exp.Dot(
        this=exp.to_identifier("ai"), expression=exp.Anonymous(this=name, expressions=copies)
    )
