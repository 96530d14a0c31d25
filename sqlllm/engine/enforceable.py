"""What llguidance would accept in a JSON Schema without holding an answer to all of it."""

from __future__ import annotations

import re
from typing import Any

from sqlllm.errors import CallError
from sqlllm.sqltypes import DATE

BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
SET_OF_SETS = re.compile(r"\[[^\]]*(?:\[|&&|--|~~)")
VALUES = ("enum", "const", "default", "examples")  # hold values, not schemas
NAMES = ("properties", "patternProperties", "$defs", "definitions")  # name -> schema


def enforceable(schema: Any) -> Any:
    """The schema, so that llguidance enforces all of it or refuses it.

    What it refuses by itself, such as `uniqueItems` and `not`, is left to it. `format: date` gets
    a pattern: llguidance lets it be the 29th of February of any year.

    Raises:
        CallError: The schema has something that llguidance takes and doesn't enforce.

    Example:
        >>> enforceable({"type": "string", "maxLength": 3})
        {'type': 'string', 'maxLength': 3}
        >>> enforceable({"type": "integer", "maximum": 2**53 + 3})
        Traceback (most recent call last):
        ...
        sqlllm.errors.CallError: the schema can't be enforced: maximum 9007199254740995 has ...
    """
    if isinstance(schema, list):
        return [enforceable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    for problem in (_settings, _bounds, _names, _pattern):
        if found := problem(schema):
            msg = f"the schema can't be enforced: {found}"
            raise CallError(msg, hint="simplify the schema")
    made = {
        word: value
        if word in VALUES
        else {name: enforceable(part) for name, part in value.items()}
        if word in NAMES and isinstance(value, dict)
        else enforceable(value)
        for word, value in schema.items()
    }
    kind = str(schema.get("format"))
    if kind in _DATES:
        made["allOf"] = [*made.get("allOf", []), {"pattern": _DATES[kind]}]
    return made


_DATES = {"date": DATE, "date-time": DATE.removesuffix("$")}


def _settings(schema: dict[str, Any]) -> str | None:
    return "x-guidance is no keyword of JSON Schema" if "x-guidance" in schema else None


def _bounds(schema: dict[str, Any]) -> str | None:
    """Bounds are read as doubles, those of integers then as 64-bit integers."""
    numbers = {
        word: bound
        for word in BOUNDS
        if isinstance(bound := schema.get(word), int | float) and not isinstance(bound, bool)
    }
    for word, bound in numbers.items():
        if abs(bound) >= 2**63 or (isinstance(bound, int) and int(float(bound)) != bound):
            return f"{word} {bound} has too many digits"
    low = max((numbers[word] for word in BOUNDS[:2] if word in numbers), default=None)
    high = min((numbers[word] for word in BOUNDS[2:] if word in numbers), default=None)
    for word in ("exclusiveMinimum", "exclusiveMaximum"):
        whole = word in numbers and float(numbers[word]).is_integer()
        if whole and low is not None and high is not None and high - low < 1:
            return f"{word} {numbers[word]} would be let through, in a range shorter than 1"
    return None


def _names(schema: dict[str, Any]) -> str | None:
    """A name with a control character can be written in two ways; only one is known then."""
    names = schema.get("properties")
    names = names if isinstance(names, dict) else {}
    odd = [name for name in names if re.search(r"[\x00-\x1f\x7f]", name)]
    return f"the property {odd[0]!r} has a control character" if odd else None


def _pattern(schema: dict[str, Any]) -> str | None:
    """Rust's regular expressions have sets of sets, `[a-z&&[^b]]`; those of JSON Schema don't."""
    inner = schema.get("patternProperties")
    for pattern in [schema.get("pattern"), *(inner if isinstance(inner, dict) else [])]:
        plain = re.sub(r"\\.", "_", pattern) if isinstance(pattern, str) else ""
        if SET_OF_SETS.search(plain):
            return f"the pattern {pattern!r} has a set in a set"
    return None
