"""The public functions of sql/ in Python, made from their definitions.

What editors and type checkers know of them is in functions.pyi, which `make reference` writes from
the same definitions.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from contextvars import Token
from typing import TYPE_CHECKING, Any, Self

from sqlllm.polars.binding import USED
from sqlllm.polars.call import expression
from sqlllm.sql import Definition, definitions

if TYPE_CHECKING:
    import polars as pl

    from sqlllm.connection import Connection

QUESTIONS = ("template", "question", "query")
"""Arguments that may come first and are not the row's data."""

CONSTANTS = {"NULL": None, "true": True, "false": False}


class Functions:
    """The functions on one connection, or on the default one; see `sqlllm.polars.using`."""

    def __init__(self, db: Connection | None = None) -> None:
        self._db = db
        self._tokens: list[Token[Connection | None]] = []

    def __enter__(self) -> Self:
        self._tokens.append(USED.set(self._db))
        return self

    def __exit__(self, *_: object) -> None:
        USED.reset(self._tokens.pop())


class Expressions:
    """What `pl.col(...).ai` has: the functions, with the expression as the row's data."""

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr


def public() -> list[Definition]:
    """The functions that have a place here: all but those that return tables."""
    return [d for d in definitions() if d.public and d.arguments and d.returns != "TABLE"]


def row_of(definition: Definition) -> str:
    """The argument that is the row's data.

    Example:
        >>> [row_of(d) for d in public() if d.name in ("classify", "answer", "prompt")]
        ['values', 'text', 'context']
    """
    names = signature_of(definition).parameters
    return next(name for name in names if name not in QUESTIONS)


def signature_of(definition: Definition) -> inspect.Signature:
    """As it is written in sql/; options have names there, and so here."""
    if "..." in definition.signature:  # ai.prompt(template, a, b, ...)
        first = inspect.Parameter(next(iter(definition.arguments)), _PLAIN)
        return inspect.Signature([first, inspect.Parameter("values", _MANY)])
    defaults = dict(re.findall(r"(\w+) := ('[^']*'|[^,)]+)", definition.signature))
    return inspect.Signature(
        [
            inspect.Parameter(name, _NAMED, default=_python(defaults[name]))
            if optional
            else inspect.Parameter(name, _PLAIN)
            for name, optional in definition.arguments.items()
        ]
    )


_PLAIN = inspect.Parameter.POSITIONAL_OR_KEYWORD
_NAMED = inspect.Parameter.KEYWORD_ONLY
_MANY = inspect.Parameter.VAR_POSITIONAL


def _python(default: str) -> Any:
    if default in CONSTANTS:
        return CONSTANTS[default]
    if default.startswith("'"):
        return default[1:-1]
    return float(default) if "." in default else int(default)


def _function(definition: Definition) -> Callable[..., pl.Expr]:
    signature = signature_of(definition)

    def call(self: Functions, *args: Any, **options: Any) -> pl.Expr:
        return _expression(definition, signature, args, options, self._db or USED.get())

    return _as_written(call, definition, signature)


def _method(definition: Definition) -> Callable[..., pl.Expr]:
    signature, row = signature_of(definition), row_of(definition)

    def call(self: Expressions, *args: Any, **options: Any) -> pl.Expr:
        before = list(signature.parameters).index(row)
        given = (*args[:before], self._expr, *args[before:])
        return _expression(definition, signature, given, options, USED.get())

    rest = [p for p in signature.parameters.values() if p.name != row or p.kind is _MANY]
    return _as_written(call, definition, inspect.Signature(rest))


def _expression(
    definition: Definition,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    options: dict[str, Any],
    db: Connection | None,
) -> pl.Expr:
    try:
        given = signature.bind(*args, **options)
    except TypeError as error:
        msg = f"{definition.name}: {error}; it is {definition.name}{signature}"
        raise TypeError(msg) from None
    return expression(definition, row_of(definition), given.arguments, db)


def _as_written(
    call: Callable[..., pl.Expr], definition: Definition, signature: inspect.Signature
) -> Callable[..., pl.Expr]:
    """With the name, the signature and the text that help and editors show."""
    me = inspect.Parameter("self", _PLAIN)
    call.__name__ = definition.name
    call.__doc__ = definition.about
    call.__signature__ = signature.replace(parameters=[me, *signature.parameters.values()])  # type: ignore[attr-defined]
    return call


for each in public():
    setattr(Functions, each.name, _function(each))
    setattr(Expressions, each.name, _method(each))
