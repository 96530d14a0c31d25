"""DuckDB's dialect for sqlglot, but for what it reads or writes otherwise than DuckDB."""

from __future__ import annotations

from typing import Any, ClassVar

import duckdb
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser


def _functions() -> frozenset[str]:
    """Names of DuckDB's own functions; those of other databases may be the user's macros."""
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT DISTINCT upper(function_name) FROM duckdb_functions()"
        ).fetchall()
    # Parsed, not called. And those that sqlglot gives other types, or arguments of another kind.
    parsed = {"COALESCE", "COLUMNS", "IF", "IFNULL", "NULLIF", "TRY", "UNNEST"}
    other = {"DATE_ADD", "JSON_KEYS", "LOG2", "SEARCH", "TIME_BUCKET"}
    return frozenset({name for (name,) in rows} | parsed) - other


FUNCTIONS = _functions()


class AiDuckDB(DuckDB):
    """DuckDB's dialect: parse with it, and write with it."""

    INDEX_OFFSET = 0  # else an index is shifted where sqlglot takes its operand for a list

    def to_json_path(self, path: exp.Expr | None) -> exp.Expr | None:
        """As it is: in DuckDB `'a.b'` is a key, which sqlglot would write as a path."""
        return path

    class Generator(DuckDBGenerator):
        """With parentheses that its trees need."""

        def not_sql(self, expression: exp.Not) -> str:
            """`(NOT k IN (1)) = b`, which DuckDB would read as `NOT (k IN (1) = b)`."""
            sql: str = super().not_sql(expression)
            parent = expression.parent
            alone = not isinstance(parent, exp.Binary) or isinstance(parent, exp.Connector | exp.Is)
            return sql if alone else f"({sql})"

    class Parser(DuckDBParser):
        """With fewer functions that it knows, and literals as DuckDB reads them.

        `FROM ai.search(...)` is a function like any other, not Snowflake's SEARCH of six arguments.
        """

        FUNCTIONS: ClassVar = {n: m for n, m in DuckDBParser.FUNCTIONS.items() if n in FUNCTIONS}

        def _parse_in(self, this: exp.Expr | None, alias: bool = False) -> exp.In:
            """`k IN [1, NULL]` asks a list, to which NULL is a value like others."""
            if self._curr is not None and self._curr.token_type.name == "L_BRACKET":
                return exp.In(this=this, field=self._parse_column())
            found: exp.In = super()._parse_in(this, alias)
            return found

        def _parse_interval_span(  # type: ignore[override]
            self, this: exp.Expr, parse_function_unit: bool = True
        ) -> exp.Expr:
            """`INTERVAL '1 day 01:02:03'` is read by DuckDB: sqlglot keeps one unit of it."""
            at = self._index
            found: exp.Expr = super()._parse_interval_span(this.copy(), parse_function_unit)
            if self._index == at and isinstance(this, exp.Literal) and this.is_string:
                return exp.Cast(this=this, to=exp.DataType.build("INTERVAL", dialect="duckdb"))
            return found

        def _parse_type(self, *given: Any, **asked: Any) -> exp.Expr | None:
            """`DATE '2026-01-01'::VARCHAR` is text: what stands behind a literal is of its type.

            sqlglot has it of the string, and the type around both.
            """
            typed = self._at_typed_literal()
            found: exp.Expr | None = super()._parse_type(*given, **asked)
            if not typed or found is None or isinstance(found.this, exp.Literal):
                return found
            chain: exp.Expr = found.this.pop()
            literal = chain
            while not isinstance(literal, exp.Literal):
                literal = literal.this
            literal.replace(found)
            found.set("this", literal)
            return chain

        def _at_typed_literal(self) -> bool:
            """Whether a type and a string follow; an INTERVAL is read apart."""
            kind = self._curr.token_type
            if kind not in self.TYPE_TOKENS or kind.name == "INTERVAL":
                return False
            at = self._index
            found = self._parse_types(check_func=True, allow_identifiers=False)
            typed = isinstance(found, exp.DataType) and self._curr.token_type.name == "STRING"
            self._retreat(at)
            return typed
