"""DuckDB types as JSON Schema, so that what is written by the schema casts to the type."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlllm.errors import CallError, did_you_mean, first_line

Schema = dict[str, Any]

_LEAP = "(?:0[48]|[2468][048]|[13579][26])"
_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # 0001 to 9999
_DAY = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|(?:[0-9]{{2}}{_LEAP}|{_LEAP}00)-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"

DATE = f"^{_DAY}$"
"""Days that exist, of the years 0001 to 9999."""

PATTERNS: Mapping[str, str] = {
    "date": DATE,
    "time": f"^{_CLOCK}$",
    "timestamp": f"^{_DAY}[T ]{_CLOCK}$",
    "timestamp with time zone": f"^{_DAY}[T ]{_CLOCK}{_ZONE}$",
    "uuid": "^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
}
"""Regular expressions of the types that are text in JSON, by DuckDB's id of the type."""

# Grammars read bounds as doubles: the nearest one below 2^63 stands for BIGINT's ends.
_INTEGERS = {
    "tinyint": (-(2**7), 2**7 - 1),
    "smallint": (-(2**15), 2**15 - 1),
    "integer": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63) + 1024, 2**63 - 1024),
    "utinyint": (0, 2**8 - 1),
    "usmallint": (0, 2**16 - 1),
    "uinteger": (0, 2**32 - 1),
}
# Numbers of JSON are doubles to many readers, DuckDB 1.4 among them: larger ones are text.
_DOUBLE_DIGITS = 15
_LARGE_INTEGERS = {
    "ubigint": (0, 2**64 - 1),
    "hugeint": (2**127, 2**127 - 1),
    "uhugeint": (0, 2**128 - 1),
}
KNOWN = (
    "bigint", "boolean", "date", "decimal", "double", "enum", "float", "hugeint", "integer", "json",
    "map", "smallint", "struct", "time", "timestamp", "timestamptz", "tinyint", "ubigint",
    "uhugeint", "uinteger", "usmallint", "utinyint", "uuid", "varchar",
)  # fmt: skip
"""Names of the types that can be asked for."""

# DuckDB's parser drops the n of VARCHAR(n), also in nested types. An enum of one value keeps it.
_LENGTH = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \b(?:N?VARCHAR|BPCHAR|TEXT|STRING
    |CHAR(?:ACTER)?(?:\s+VARYING)?) \s*\(\s*(\d+)\s*\)""",
    re.IGNORECASE | re.VERBOSE,
)
_MARK = "\ue000at most "


@contextmanager
def type_reader() -> Iterator[TypeReader]:
    """Reads types by DuckDB's parser, on a connection of its own.

    Types that a user created are not known to it, and no extension is loaded.
    """
    import duckdb

    off = ("autoinstall_known_extensions", "autoload_known_extensions")
    with duckdb.connect(":memory:", config=dict.fromkeys(off, False)) as con:
        yield TypeReader(con)


class TypeReader:
    """Makes JSON Schema of DuckDB type names; see `type_reader`.

    Example:
        >>> with type_reader() as types:
        ...     types.schema("UTINYINT[]", "sizes")
        {'type': 'array', 'items': {'type': 'integer', 'minimum': 0, 'maximum': 255}}
    """

    def __init__(self, con: Any) -> None:
        self._con = con

    def schema(self, name: str, path: str) -> Schema:
        """The JSON Schema of a type.

        Args:
            name: A DuckDB type, such as `DECIMAL(10,2)` or `STRUCT(name VARCHAR)[]`.
            path: The field that has it, for errors.

        Raises:
            CallError: It is no type, or one whose values have no form in JSON.
        """
        import duckdb

        marked = _LENGTH.sub(lambda m: f"ENUM('{_MARK}{m[1]}')" if m[1] else m[0], name)
        try:
            parsed = self._con.sqltype(marked)
        except duckdb.Error as error:
            missing = re.search(r"Type with name (\S+) does not exist", str(error))
            if missing:
                word = missing[1].strip('"')
                msg = f"{path} has the unknown type {word!r}"
                raise CallError(msg, hint=did_you_mean(word, KNOWN)) from error
            msg = f"{path} is no DuckDB type: {name!r} ({first_line(error)})"
            raise CallError(msg, hint="write such as 'DECIMAL(10,2)', or JSON Schema") from error
        return self._of(parsed, path)

    def _of(self, parsed: Any, path: str) -> Schema:
        kind = parsed.id
        if kind in _INTEGERS:
            low, high = _INTEGERS[kind]
            return {"type": "integer", "minimum": low, "maximum": high}
        if kind in PATTERNS:
            return {"type": "string", "pattern": PATTERNS[kind]}
        if kind in _LARGE_INTEGERS:
            return {"type": "string", "pattern": _integers(*_LARGE_INTEGERS[kind])}
        if kind == "varchar":
            return {} if str(parsed) == "JSON" else {"type": "string"}
        if kind in ("double", "float"):
            return {"type": "number"}
        if kind == "boolean":
            return {"type": "boolean"}
        made: dict[str, Callable[[Mapping[str, Any], str], Schema]] = {
            "decimal": _decimal,
            "enum": _enum,
            "struct": self._struct,
            "list": self._list,
            "array": self._list,
            "map": self._map,
        }
        if kind not in made:
            msg = f"{path} has the type {parsed}, which has no form in JSON"
            raise CallError(msg, hint=INSTEAD.get(kind, "take VARCHAR, and cast it in SQL"))
        return made[kind](dict(parsed.children), path)

    def _struct(self, children: Mapping[str, Any], path: str) -> Schema:
        return struct({n: self._of(t, join(path, n)) for n, t in children.items()})

    def _list(self, children: Mapping[str, Any], path: str) -> Schema:
        items = self._of(children["child"], items_of(path))
        return array(items, children.get("size"))

    def _map(self, children: Mapping[str, Any], path: str) -> Schema:
        if children["key"].id != "varchar":
            msg = f"{path} is a MAP whose keys are {children['key']}; in JSON they are text"
            raise CallError(msg, hint="write MAP(VARCHAR, ...), and cast it in SQL")
        return {"type": "object", "additionalProperties": self._of(children["value"], path)}


INSTEAD = {
    "interval": "take a number of days or seconds, such as INTEGER",
    "timestamp_s": "take TIMESTAMP, and cast it in SQL",
    "timestamp_ms": "take TIMESTAMP, and cast it in SQL",
    "timestamp_ns": "take TIMESTAMP, and cast it in SQL",
    "time with time zone": "take TIME, and the zone as a VARCHAR",
    "union": "take a STRUCT with a field for each, of which the others are NULL",
}
"""What to write instead of a type that has no form in JSON, by DuckDB's id of the type."""


def struct(fields: Mapping[str, Schema]) -> Schema:
    """An object that has every field, each of which may be null, and no other."""
    return {
        "type": "object",
        "properties": {name: nullable(field) for name, field in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def array(items: Schema, size: int | None = None) -> Schema:
    """A list; `size` is how many it always has."""
    bounds = {} if size is None else {"minItems": size, "maxItems": size}
    return {"type": "array", "items": items, **bounds}


def nullable(schema: Schema) -> Schema:
    """The schema, or null.

    Example:
        >>> nullable({"type": "boolean"}), nullable({"enum": ["a"]})
        ({'type': ['boolean', 'null']}, {'enum': ['a', None]})
    """
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def join(path: str, name: str) -> str:
    """The path of a field, for errors: `'address.city'`."""
    return f"{path[:-1]}.{name}'" if path.startswith("'") else f"'{name}'"


def items_of(path: str) -> str:
    """The path of a list's values, for errors: `'tags[]'`."""
    return f"{path[:-1]}[]'" if path.startswith("'") else "'[]'"


def _decimal(children: Mapping[str, int], _: str) -> Schema:
    """A number where doubles are exact enough, else text, which always casts as it stands."""
    precision, scale = children["precision"], children["scale"]
    whole = precision - scale
    if precision <= _DOUBLE_DIGITS and scale <= 10:
        most = float(f"{'9' * whole or 0}.{'9' * scale or 0}") if scale else 10**precision - 1
        step = {"multipleOf": float(f"1e-{scale}")} if scale else {}
        return {
            "type": "number" if scale else "integer",
            "minimum": -most,
            "maximum": most,
            **step,
        }
    digits = f"(?:0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
    part = rf"(?:\.[0-9]{{1,{scale}}})?" if scale else ""
    return {"type": "string", "pattern": f"^-?{digits}{part}$"}


def _enum(children: Mapping[str, list[str]], _: str) -> Schema:
    values = children["values"]
    if len(values) == 1 and values[0].startswith(_MARK):
        return {"type": "string", "maxLength": int(values[0].removeprefix(_MARK))}
    return {"enum": list(values)}


def _integers(below: int, above: int) -> str:
    """A regular expression of the integers from -below to above."""
    negative = f"|-{_up_to(below)}" if below else ""
    return f"^(?:0|{_up_to(above)}{negative})$"


def _up_to(most: int) -> str:
    """A regular expression of the integers from 1 to `most`, a number of two digits or more."""
    digits = str(most)
    parts = [f"[1-9][0-9]{{0,{len(digits) - 2}}}", digits]
    for at, digit in enumerate(digits):
        lowest = 0 if at else 1
        if int(digit) > lowest:
            rest = len(digits) - at - 1
            parts.append(f"{digits[:at]}[{lowest}-{int(digit) - 1}][0-9]{{{rest}}}")
    return f"(?:{'|'.join(parts)})"
