"""DuckDB's dialect for sqlglot, but for functions of `ai` that it knows with other arguments."""

from __future__ import annotations

from typing import ClassVar

from sqlglot.dialects.duckdb import DuckDB
from sqlglot.parsers.duckdb import DuckDBParser


class AiDuckDB(DuckDB):
    """`FROM ai.search(...)` is a function like any other, not Snowflake's SEARCH of six arguments.

    In expressions sqlglot reads a name after a dot that way by itself.
    """

    class Parser(DuckDBParser):
        """With fewer functions that it knows."""

        FUNCTIONS: ClassVar = {
            n: make for n, make in DuckDBParser.FUNCTIONS.items() if n != "SEARCH"
        }
