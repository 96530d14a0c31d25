"""`__ai_prompt`: texts put into a template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import CallError, did_you_mean
from sqlllm.function import by_value, column_function

PLACE = re.compile(r"\{(\{(?:\d+|[A-Za-z_]\w*)\})\}|\{(\d+)\}|\{([A-Za-z_]\w*)\}")
"""`{{0}}` or `{{name}}`, which are text; `{0}`; `{name}`. Any other brace is text."""


@column_function("VARCHAR", "VARCHAR[]", "VARCHAR", returns="VARCHAR")
def prompt(template: pa.Array, values: pa.Array, named: pa.Array) -> pa.Array:
    """The template of each row with its values in place; NULL where one that is used is NULL.

    Args:
        template: Text with `{0}` for the first value and so on, or `{name}`.
        values: The values by position.
        named: A JSON object of the values by name, or NULL.
    """

    def filled(text: str | None, rows: pa.Array) -> pa.Array:
        if text is None:
            return pa.nulls(len(rows), pa.string())
        return _filled(parse(text), values.take(rows), named.take(rows))

    return by_value(template, filled)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value goes: its position or its name."""

    key: int | str


def parse(template: str) -> list[str | Place]:
    """The pieces of a template.

    Example:
        >>> parse("{{x}} is {0}: {name} {'a': {}}")
        ['{x} is ', Place(key=0), ': ', Place(key='name'), " {'a': {}}"]
    """
    pieces: list[str | Place] = []
    text, at = "", 0
    for found in PLACE.finditer(template):
        text += template[at : found.start()]
        at = found.end()
        if found[1]:
            text += found[1]
        else:
            pieces += [text] * bool(text) + [Place(int(found[2]) if found[2] else found[3])]
            text = ""
    text += template[at:]
    return pieces + [text] * bool(text)


def _filled(pieces: Sequence[str | Place], values: pa.Array, named: pa.Array) -> pa.Array:
    """One template for several rows."""
    rows = len(values)
    has_names = named.null_count < rows
    given = values.flatten()
    asks_names = any(isinstance(p, Place) and isinstance(p.key, str) for p in pieces)
    if asks_names and not has_names and given.null_count == len(given):
        return pa.nulls(rows, pa.string())  # structs that are NULL in all of these rows
    objects = [None if text is None else json.loads(text) for text in named.to_pylist()]
    columns = []
    for piece in pieces:
        if isinstance(piece, str):
            columns.append(pa.array([piece] * rows, pa.string()))
        elif isinstance(piece.key, str) and has_names:
            columns.append(pa.array([_of(row, piece.key) for row in objects], pa.string()))
        elif isinstance(piece.key, int) and not has_names:
            columns.append(_at(values, piece.key))
        else:
            by = "name" if has_names else "position"
            msg = f"the prompt has {{{piece.key}}}, but values by {by} are given"
            raise CallError(
                msg, hint="write ai.prompt('{0} {1}', a, b) or ai.prompt('{x}', {x: a})"
            )
    if not columns:
        return pa.array([""] * rows, pa.string())
    return pc.binary_join_element_wise(*columns, "")


def _at(values: pa.Array, position: int) -> pa.Array:
    given = pc.min(pc.list_value_length(values)).as_py() or 0
    if position >= given:
        msg = f"the prompt has {{{position}}}, but the last value is {{{given - 1}}}"
        raise CallError(msg, hint="double the braces, {{0}}, to have them in the text")
    return pc.list_element(values, position)


def _of(row: Any, name: str) -> str | None:
    if row is None:
        return None
    if name not in row:
        msg = f"the prompt has {{{name}}}, which is not among the values"
        raise CallError(msg, hint=did_you_mean(name, row))
    value: str | None = row[name]
    return value
