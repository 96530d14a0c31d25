"""Whether a query as sqlglot writes it is, to DuckDB, the query that the user wrote.

sqlglot reads more dialects than one, and now and then it takes a word for another. DuckDB's own
parser tells: the trees that it makes of both texts must be the same, but for some ways in which the
same thing can be written.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from typing import Any

import duckdb
from sqlglot.dialects.duckdb import DuckDB

Node = dict[str, Any]

_PLACES = re.compile(r'"query_location(?:_length)?":\d+,?')

_IGNORED = (
    "qualified_name", "is_operator", "is_implicit", "query_location", "query_location_length",
    "syntax_type",
)  # fmt: skip

_NEGATED = {"!~~": "~~", "!~~*": "~~*"}

_OPPOSITE = {
    "OPERATOR_IS_NOT_NULL": "OPERATOR_IS_NULL",
    "COMPARE_DISTINCT_FROM": "COMPARE_NOT_DISTINCT_FROM",
}
"""What sqlglot writes with NOT before it."""


def is_same(text: str, other: str) -> bool:
    """Whether DuckDB makes the same of two queries; True where it doesn't tell.

    What is no query has no such tree, and those of DuckDB 1 are of another form.

    Example:
        >>> is_same("SELECT a::INT FROM t WHERE a IS NOT NULL", "select CAST(A AS INTEGER) from t "
        ...     "where NOT a IS NULL")
        True
        >>> is_same("SELECT j -> 'a' || 'b' FROM t", "SELECT (j -> 'a') || 'b' FROM t")
        False
    """
    if duckdb.__version__ < "2":
        return True
    with _own(os.getpid()).cursor() as con:
        row = con.execute(
            "SELECT json_serialize_sql($1::VARCHAR), json_serialize_sql($2::VARCHAR)",
            [text, other],
        ).fetchone()
    first, second = row or ("", "")
    if _PLACES.sub("", first) == _PLACES.sub("", second):
        return True
    mine, others = json.loads(first), json.loads(second)
    return bool(mine.get("error")) or _plain(mine) == _plain(others)


@cache
def _own(process: int) -> duckdb.DuckDBPyConnection:
    """A connection of our own: whatever the user's is in the middle of goes on.

    One for each process, since a fork may find that of its parent in the middle of something.
    """
    return duckdb.connect()


@cache
def _names() -> tuple[dict[str, str], dict[str, str]]:
    """Other names of functions and of types -> the one that stands for all."""
    with _own(os.getpid()).cursor() as con:
        functions = con.execute(
            "SELECT DISTINCT function_name, alias_of FROM duckdb_functions() WHERE alias_of <> ''"
        ).fetchall()
        types = con.execute("SELECT upper(type_name), logical_type FROM duckdb_types()").fetchall()
    return dict(functions), dict(types)


def _plain(node: Any) -> Any:
    """A tree in which what means the same is written the same."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {name: _plain(value) for name, value in node.items() if name not in _IGNORED}
    found["alias"] = found.get("alias") or ""
    if (opposite := _OPPOSITE.get(str(found.get("type")))) is not None:
        return _not({**found, "type": opposite})
    if "function_name" in found:
        return _function(found)
    if "type_name" in found:
        return _type(found)
    kind = found.get("class") or found.get("type")
    if kind == "COLUMN_REF":
        found["column_names"] = [name.lower() for name in found["column_names"]]
    elif kind == "CAST" and "literal" in found["child"]:
        found["child"]["literal"]["kind"] = ""  # INTERVAL 1 DAY is written INTERVAL '1' DAY
    elif kind == "CONSTANT" and found["literal"]["kind"] != "STRING":
        found["literal"]["text"] = found["literal"]["text"].replace("_", "")
    elif kind == "LAMBDA" and found["expr"].get("function_name") == "->>":
        # `a -> 'b' ->> 'c'`: to DuckDB's parser the last two belong together.
        (first, last), expr = found["expr"]["arguments"], found["expr"]
        first = {**first, "expression": {**found, "expr": first["expression"], "alias": ""}}
        return {**expr, "arguments": [first, last], "alias": found["alias"]}
    elif found.get("type") == "ARRAY_CONSTRUCTOR":
        return _list(found["children"], found["alias"])
    return found


def _function(node: Node) -> Node:
    others, _ = _names()
    name = str(node["function_name"]).lower()
    if name in _NEGATED:
        return _not({**node, "function_name": _NEGATED[name]})
    node["function_name"] = name = others.get(name, name)
    values = [each["expression"] for each in node.get("arguments") or []]
    if name == "list_value":
        return _list(values, node["alias"])
    if name == "date_part" and values and "literal" in values[0]:
        unit = str(values[0]["literal"]["text"]).upper()
        values[0]["literal"]["text"] = DuckDB.DATE_PART_MAPPING.get(unit, unit)
    return node


def _type(node: Node) -> Node:
    _, others = _names()
    name = str(node["type_name"]).upper()
    return {**node, "type_name": others.get(name, name)}


def _list(values: list[Any], alias: str) -> Node:
    return {"list": values, "alias": alias}


def _not(node: Node) -> Node:
    inner = {**node, "alias": ""}
    kind = {"class": "OPERATOR", "type": "OPERATOR_NOT"}
    return {**kind, "alias": node["alias"], "children": [inner]}
