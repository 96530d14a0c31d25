"""Random forms of answers: JSON Schemas and DuckDB types, with bounds, so that answers end."""

from __future__ import annotations

import random
import string
from typing import Any

PATTERNS = (
    "^[a-c]{1,4}$",
    "^(?:ab|cd)?x$",
    "-[0-9]$",
    "^ü|\\d\\d$",
    '^"[^"]*\\\\$',
    "^[^\\n]{0,3}$",
)
FORMATS = ("date", "time", "date-time", "uuid", "ipv4", "email")
SCALARS = (
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER",
    "UBIGINT", "HUGEINT", "UHUGEINT", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ", "UUID",
    "ENUM('low', 'it''s', 'ü \"x\"')", "VARCHAR(0)", "VARCHAR(7)", "TEXT(3)",
)  # fmt: skip


def duckdb_type(draw: random.Random, depth: int = 4) -> tuple[Any, str]:
    """A form as `ai.extract` takes it, and the type that its answers cast to."""
    kinds = ["scalar", "scalar", "decimal"] + ["struct", "array", "text"] * (depth > 0)
    kinds += ["map"] * (draw.random() < 0.1)  # of any size: these may not end
    kind = draw.choice(kinds if depth < 4 else ["struct", "text"])
    if kind == "scalar":
        name = draw.choice(SCALARS)
        return name, name
    if kind == "decimal":
        precision = draw.randint(1, 38)
        name = f"DECIMAL({precision}, {draw.randint(0, precision)})"
        return name, name
    if kind == "map":
        name = f"MAP(VARCHAR, {draw.choice(SCALARS)})"
        return name, name
    if kind == "array":
        form, inner = duckdb_type(draw, depth - 1)
        size = draw.randint(1, 3)
        return (f"{form}[{size}]",) * 2 if isinstance(form, str) else ([form], f"{inner}[]")
    names = [draw.choice(string.ascii_letters) + str(i) + draw.choice(("", " ü", '"', "'", "\\"))
             for i in range(draw.randint(1, 4))]  # fmt: skip
    fields = {name: duckdb_type(draw, depth - 1) for name in names}
    inner = ", ".join('"' + n.replace('"', '""') + f'" {t}' for n, (_, t) in fields.items())
    name = f"STRUCT({inner})"
    return (name if kind == "text" else {n: form for n, (form, _) in fields.items()}), name


def json_schema(draw: random.Random, depth: int = 4) -> dict[str, Any]:
    """A JSON Schema that llguidance can enforce."""
    kinds = ["string", "integer", "number", "values", "plain"]
    kinds += ["object", "object", "array", "tuple", "any", "all", "one"] * (depth > 0)
    kind = draw.choice(kinds if depth < 4 else ["object", "array", "any"])
    made: dict[str, Any] = _MADE[kind](draw, depth - 1)
    if draw.random() < 0.1 and "type" in made and isinstance(made["type"], str):
        made["type"] = [made["type"], "null"]
    if draw.random() < 0.2:
        made["description"] = "what it means"
    return made


def _string(draw: random.Random, _: int) -> dict[str, Any]:
    which = draw.randrange(4)
    if which == 0:
        return {"type": "string", "pattern": draw.choice(PATTERNS), "maxLength": 12}
    if which == 1:
        return {"type": "string", "format": draw.choice(FORMATS)}
    low = draw.randint(0, 5)
    return {"type": "string", "minLength": low, "maxLength": low + draw.randint(0, 6)}


def _integer(draw: random.Random, _: int) -> dict[str, Any]:
    low = draw.choice((0, -5, 17, -(2**40), -1000))
    made = {"type": "integer", "minimum": low}
    made[draw.choice(("maximum", "exclusiveMaximum"))] = low + draw.choice((30, 2**41, 999))
    return made | ({"multipleOf": draw.choice((2, 7, 10))} if draw.random() < 0.3 else {})


def _number(draw: random.Random, _: int) -> dict[str, Any]:
    low = draw.choice((0, -2.5, 0.001, -1e6))
    made = {"type": "number", draw.choice(("minimum", "exclusiveMinimum")): low}
    made["maximum"] = low + draw.choice((1.75, 10, 1e9))
    return made | ({"multipleOf": draw.choice((0.01, 0.1, 0.25))} if draw.random() < 0.5 else {})


def _values(draw: random.Random, _: int) -> dict[str, Any]:
    values = draw.sample(["a", "it's", "ü\n", 1, -2.5, None, True, [1, "x"], {"k": None}], 3)
    return {"const": values[0]} if draw.random() < 0.2 else {"enum": values}


def _plain(draw: random.Random, _: int) -> dict[str, Any]:
    return {"type": draw.choice(("boolean", "null"))}


def _object(draw: random.Random, depth: int) -> dict[str, Any]:
    names = draw.sample(["a", "b c", "ü", 'q"', "type", "items", "x/y", "\\"], draw.randint(1, 4))
    made = {
        "type": "object",
        "properties": {name: json_schema(draw, depth) for name in names},
        "required": [name for name in names if draw.random() < 0.6],
        "additionalProperties": False,
    }
    if draw.random() < 0.2:
        made |= {"additionalProperties": {"type": "boolean"}}
        made |= {"required": names, "maxProperties": len(names) + 2}
    return made


def _array(draw: random.Random, depth: int) -> dict[str, Any]:
    low = draw.randint(0, 2)
    return {"type": "array", "items": json_schema(draw, depth), "minItems": low,
            "maxItems": low + draw.randint(0, 2)}  # fmt: skip


def _tuple(draw: random.Random, depth: int) -> dict[str, Any]:
    parts = [json_schema(draw, depth) for _ in range(draw.randint(1, 3))]
    return {"type": "array", "prefixItems": parts, "items": False, "minItems": 1}


def _any(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [json_schema(draw, depth) for _ in range(2)]}


def _all(draw: random.Random, _: int) -> dict[str, Any]:
    low = draw.randint(-9, 9)
    return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + 20}]}


def _one(draw: random.Random, depth: int) -> dict[str, Any]:
    return {"oneOf": [_string(draw, depth), _integer(draw, depth), {"type": "null"}]}


_MADE = {"string": _string, "integer": _integer, "number": _number, "values": _values,
         "plain": _plain, "object": _object, "array": _array, "tuple": _tuple, "any": _any,
         "all": _all, "one": _one}  # fmt: skip
