"""The form of a JSON answer: JSON Schema, or a struct of DuckDB types, as SQL gives it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlllm.errors import CallError, did_you_mean, excerpt
from sqlllm.sqltypes import (
    PATTERNS,
    Schema,
    TypeReader,
    array,
    items_of,
    join,
    nullable,
    struct,
    type_reader,
)

HINT = """write {'name': 'VARCHAR', 'tags': ['VARCHAR']}, or JSON Schema with its "type" """.strip()
ROOT = "the schema"


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer looks like.

    Attributes:
        schema: JSON Schema, as JSON text; empty where any text will do.
        shown: What a prompt shows instead; empty: the schema itself.
    """

    schema: str = ""
    shown: str = ""


def read_form(given: object, descriptions: object = None) -> Form:
    """The form that a call asks for.

    A struct is JSON Schema where it has a keyword of it with a value that only JSON Schema gives
    it, such as `'type': 'object'`: JSON types are written small. `{'type': 'VARCHAR'}` has a
    field named type.

    Args:
        given: JSON Schema as text or as a mapping; or a mapping of names and DuckDB types, in
            which a list of one type is a list and a mapping a struct; or a type's name; or None.
        descriptions: What fields mean: a mapping of name and text, or of name and mapping for
            the fields of a struct or of a list of structs.

    Raises:
        CallError: It is neither, or a description is of no field.

    Example:
        >>> read_form({"due": "DATE", "tags": ["VARCHAR(9)"]}, {"due": "day of payment"}).shown
        '{"due": "YYYY-MM-DD" (day of payment), "tags": [string of at most 9 characters, ...]}'
        >>> read_form('{"type": "integer"}')
        Form(schema='{"type": "integer"}', shown='')
    """
    if given is None:
        if descriptions is not None:
            msg = "descriptions are of the fields of a schema, and there is none"
            raise CallError(msg, hint=HINT)
        return Form()
    try:
        return _read(given if isinstance(given, str) else _dumps(given), _dumps(descriptions))
    except RecursionError as error:
        msg = "the schema is nested too deeply"
        raise CallError(msg, hint="take JSON for what lies deepest") from error


@lru_cache(maxsize=256)  # DuckDB calls a UDF for every 2,048 rows
def _read(text: str, described: str) -> Form:
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        if text.lstrip()[:1] in ("{", "["):
            return Form(text)  # the task says what is wrong with it
        given = text  # a type's name
    descriptions = json.loads(described)
    if is_json_schema(given):
        if descriptions is None:
            return Form(text)
        _describe(given, descriptions, ROOT)
        return Form(_dumps(given))
    with type_reader() as types:
        schema = _of(given, types, ROOT)
    if schema.get("type") not in ("object", "array") or "minItems" in schema:
        schema = nullable(schema)
    if descriptions is not None:
        _describe(schema, descriptions, ROOT)
    return Form(_dumps(schema), shown(schema))


def _of(given: object, types: TypeReader, path: str) -> Schema:
    """JSON Schema of types as `read_form` takes them."""
    if isinstance(given, str):
        return types.schema(given, path)
    if isinstance(given, list) and len(given) == 1:
        return array(_of(given[0], types, items_of(path)))
    if isinstance(given, dict) and given:
        seen: dict[str, str] = {}
        for name in given:
            if (other := seen.setdefault(name.lower(), name)) != name:
                msg = f"{path} has the fields {other!r} and {name!r}, which are one to DuckDB"
                raise CallError(msg, hint="give one of them another name")
        return struct({n: _of(t, types, join(path, n)) for n, t in given.items()})
    if isinstance(given, list):
        msg = f"a list has one type for all its values; {path} has {given!r}"
    else:
        msg = f"{path} must be a DuckDB type, not {'NULL' if given is None else repr(given)}"
    raise CallError(msg, hint=HINT)


JSON_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def is_json_schema(given: object) -> bool:
    """Whether a value is JSON Schema rather than DuckDB types.

    Example:
        >>> is_json_schema({"type": "integer"}), is_json_schema({"type": "INTEGER"})
        (True, False)
        >>> is_json_schema({"properties": {"a": {"type": "null"}}})
        True
        >>> is_json_schema({"$schema": "http://json-schema.org/draft-07/schema#", "enum": ["a"]})
        True
        >>> is_json_schema({"items": [{"sku": "VARCHAR"}], "enum": ["VARCHAR"]})
        False
    """
    if not isinstance(given, Mapping):
        return False
    kind = given.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if any(k in JSON_TYPES for k in kinds if isinstance(k, str)):
        return True
    if "$schema" in given or str(given.get("$ref", "")).startswith("#"):
        return True
    if any(_is_value(given[word]) for word in ("enum", "const") if word in given):
        return True
    inner = given.get("properties")
    parts = list(inner.values()) if isinstance(inner, Mapping) else []
    for word in ("items", "anyOf", "oneOf", "allOf"):
        part = given.get(word)
        parts += part if isinstance(part, list) else [part]
    return any(is_json_schema(part) for part in parts)


def _is_value(given: object) -> bool:
    """Whether it can't be a type: a number, NULL, a list of several."""
    if isinstance(given, list):
        return len(given) != 1 or _is_value(given[0])
    return not isinstance(given, str | Mapping)


def _describe(schema: Schema, descriptions: object, path: str) -> None:
    """Put descriptions into a schema, in place."""
    if isinstance(descriptions, str) and path != ROOT:
        schema["description"] = descriptions
        return
    if not isinstance(descriptions, Mapping):
        msg = f"the descriptions of {path} must be a struct of name and text, not {descriptions!r}"
        raise CallError(msg, hint="write {'amount': 'in euros', 'address': {'city': '...'}}")
    while "properties" not in schema and isinstance(schema.get("items"), dict):
        schema = schema["items"]
    fields = schema.get("properties", {})
    for name, text in descriptions.items():
        if name not in fields:
            msg = f"{path} has no field {name!r} to describe"
            raise CallError(msg, hint=did_you_mean(name, fields))
        if text is not None and isinstance(fields[name], dict):
            _describe(fields[name], text, join(path, name))


_SHAPES = {
    PATTERNS["date"]: '"YYYY-MM-DD"',
    PATTERNS["time"]: '"HH:MM:SS"',
    PATTERNS["timestamp"]: '"YYYY-MM-DDTHH:MM:SS"',
    PATTERNS["timestamp with time zone"]: '"YYYY-MM-DDTHH:MM:SS+00:00"',
    PATTERNS["uuid"]: '"UUID"',
}


def shown(schema: Schema) -> str:
    """A short form of a schema that was made of DuckDB types, kinder to small models.

    That every field may be null goes without saying here.
    """
    kind = schema.get("type")
    show: Callable[[Schema], str] = _SHOWN.get(kind[0] if isinstance(kind, list) else kind, _plain)
    described = schema.get("description")
    return f"{show(schema)} ({described})" if described else show(schema)


def _plain(schema: Schema) -> str:
    if "enum" not in schema:
        return "any JSON"
    return " or ".join(_dumps(value) for value in schema["enum"] if value is not None)


def _string(schema: Schema) -> str:
    if "pattern" in schema:
        return _SHAPES.get(schema["pattern"], '"digits"')
    most = schema.get("maxLength")
    return f"string of at most {most} characters" if most is not None else "string"


def _object(schema: Schema) -> str:
    if "properties" not in schema:
        return f"{{string: {shown(schema['additionalProperties'])}, ...}}"
    fields = [f"{_dumps(n)}: {shown(field)}" for n, field in schema["properties"].items()]
    return f"{{{', '.join(fields)}}}"


def _array(schema: Schema) -> str:
    size = f" of {schema['minItems']}" if "minItems" in schema else ""
    return f"[{shown(schema['items'])}, ...]{size}"


_SHOWN: Mapping[Any, Callable[[Schema], str]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "boolean": lambda _: "true or false",
    "integer": lambda _: "integer",
    "number": lambda _: "number",
}


FLOAT, DOUBLE = 3.4028234e38, 1.7976931348623157e308
"""The largest numbers of these types."""


def unreadable(answer: str, largest: float = DOUBLE) -> str | None:
    """What is wrong with JSON that a grammar let through, to be read after "the answer ...".

    No grammar can remember which names an object has had, and none here bounds an exponent.

    Args:
        answer: JSON text.
        largest: No number in it may be larger.

    Example:
        >>> unreadable('{"a": 1, "a": 2}')
        "has the name 'a' twice"
        >>> unreadable("[1e999]")
        "has the number '1e999', which is too large"
    """

    def fits(number: str) -> None:
        if abs(float(number)) > largest:
            msg = f"has the number {excerpt(number)}, which is too large"
            raise _UnreadableError(msg)

    try:
        json.loads(answer, object_pairs_hook=_once, parse_float=fits, parse_int=fits)
    except _UnreadableError as error:
        return str(error)
    except RecursionError:
        return "is nested too deeply"
    return None


class _UnreadableError(Exception):
    pass


def _once(pairs: list[tuple[str, object]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"has the name {twice!r} twice"
        raise _UnreadableError(msg)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
