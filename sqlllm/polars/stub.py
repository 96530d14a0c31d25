"""Writes functions.pyi: what editors and type checkers know of the functions."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from sqlllm.polars.functions import Expressions, Functions, public
from sqlllm.sql import Definition

HEAD = '''\
"""The public functions of sql/, written by `make reference`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import polars as pl

from sqlllm.connection import Connection
from sqlllm.sql import Definition

Column: TypeAlias = pl.Expr | pl.Series
Text: TypeAlias = str | Column
Labels: TypeAlias = Sequence[str] | Mapping[str, str | None] | Column
Names: TypeAlias = str | Sequence[str] | Column
Schema: TypeAlias = str | Mapping[str, Any] | Sequence[Any] | Column

def public() -> list[Definition]: ...
'''

TYPES = {
    "a": "Text", "b": "Text", "context": "Text", "question": "Text", "query": "Text",
    "prompt": "Text", "template": "Text", "text": "Text", "values": "object",
    "ranks": "Column",
    "labels": "Labels", "schema": "Schema", "relation": "Text", "instruction": "Text",
    "language": "Text", "source": "Text", "style": "Text", "system": "Text",
    "none_of_these": "Text", "model": "Text", "pattern": "Text",
    "stop": "Names", "aspects": "Names", "entities": "Names",
    "region": "Names",
    "descriptions": "Mapping[str, Any] | Column",
    "examples": "Sequence[Mapping[str, str]] | Column",
    "mode": 'Literal["mask", "pseudonym", "detect"]',
    "strategy": 'Literal["exact", "blocking", "classify"]',
    "on_error": 'Literal["fail", "null"]',
    "temperature": "float", "top_p": "float", "threshold": "float",
    "recall": "float", "k": "int", "overlap": "int", "max_tokens": "int",
    "max_words": "int", "seed": "int", "truncate": "bool", "markdown": "bool",
}  # fmt: skip
"""The type of each argument that is not None, by its name: it means the same in all functions."""


def stub() -> str:
    """The text of functions.pyi."""
    return "\n".join([HEAD, *_class(Functions), *_class(Expressions)]).rstrip() + "\n"


def _class(kind: type[Any]) -> Iterator[str]:
    yield f"class {kind.__name__}:"
    yield f'    """{inspect.getdoc(kind)}"""'
    yield ""
    if kind is Functions:
        yield "    def __init__(self, db: Connection | None = None) -> None: ..."
        yield "    def __enter__(self) -> Self: ..."
        yield "    def __exit__(self, *_: object) -> None: ..."
    else:
        yield "    def __init__(self, expr: pl.Expr) -> None: ..."
    for definition in public():
        yield from _method(definition, inspect.signature(getattr(kind, definition.name)))


def _method(definition: Definition, signature: inspect.Signature) -> Iterator[str]:
    yield f"    def {definition.name}("
    named = False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            named = True
            yield "        *,"
        yield f"        {_parameter(parameter)},"
    yield "    ) -> pl.Expr:"
    about = definition.about.replace('"', "'")
    yield textwrap.indent(textwrap.fill(f'"""{about}"""', 92), " " * 8)
    yield ""


def _parameter(parameter: inspect.Parameter) -> str:
    if parameter.name == "self":
        return "self"
    star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
    kind = TYPES[parameter.name]
    if parameter.default is parameter.empty:
        return f"{star}{parameter.name}: {kind}"
    none = " | None" if parameter.default is None else ""
    return f"{parameter.name}: {kind}{none} = {_python(parameter.default)}"


def _python(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    from pathlib import Path

    Path(__file__).with_name("functions.pyi").write_text(stub(), encoding="utf-8")
