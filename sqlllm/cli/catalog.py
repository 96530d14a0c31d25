"""What the database at hand has, for completion."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlllm.cli.completion import Catalog
from sqlllm.cli.dots import COMMANDS, MODES
from sqlllm.jobs.script import quoted
from sqlllm.sql import definitions

if TYPE_CHECKING:
    from sqlllm.connection import Connection

TYPED_OFTEN = """
alter attach begin between by case commit copy delete detach drop exists explain export filter first
if import insert install last load nulls over partition pragma recursive replace reset rollback row
rows sample set summarize temp transaction update use values view
"""
"""Keywords that may be names as well, for completion."""

COLUMNS = """
SELECT CASE
    WHEN database_name IN (current_database(), 'temp') AND schema_name IN ('main', current_schema())
        THEN [table_name]
    WHEN database_name IN (current_database(), 'temp') THEN [schema_name, table_name]
    WHEN schema_name = 'main' THEN [database_name, table_name]
    ELSE [database_name, schema_name, table_name] END AS path, column_name, data_type
FROM duckdb_columns() WHERE NOT internal ORDER BY database_name = 'ai', path, column_index
"""

FUNCTIONS = """
SELECT DISTINCT function_name FROM duckdb_functions()
WHERE regexp_full_match(function_name, '[a-z][a-z0-9_]*') AND NOT starts_with(function_name, 'ai_')
ORDER BY ALL
"""


def read(db: Connection) -> Catalog:
    """Tables, columns, models, functions and keywords.

    Raises:
        duckdb.Error: It can't be read, as in a transaction that has failed.
    """
    words = db.execute("SELECT keyword_name, keyword_category FROM duckdb_keywords()").fetchall()
    reserved = {word for word, category in words if category == "reserved"}
    joins = {word for word, category in words if category == "type_function"}

    def written(name: str) -> str:
        plain = re.fullmatch(r"[a-zA-Z_]\w*", name) and name.lower() not in reserved
        return name if plain else quoted(name)

    tables: dict[str, dict[str, str]] = {}
    for path, column, kind in db.execute(COLUMNS).fetchall():
        tables.setdefault(".".join(map(written, path)), {})[written(column)] = kind
    return Catalog(
        tables=tables,
        models={name: cls.about for name, cls, _ in db.runtime.registry},
        functions=[name for (name,) in db.execute(FUNCTIONS).fetchall()],
        keywords=frozenset(reserved | joins).union(TYPED_OFTEN.split()),
        commands={name: command.about for name, command in COMMANDS.items()},
        arguments={
            ".mode": MODES,
            ".functions": [each.name for each in definitions() if each.public],
            ".explain": ["analyze"],
        },
    )
