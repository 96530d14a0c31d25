"""DuckDB's dialect for sqlglot, but for what it reads otherwise than DuckDB."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
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
            """Whether a type and a string follow."""
            if self._curr.token_type not in self.TYPE_TOKENS:
                return False
            at = self._index
            kind = self._parse_types(check_func=True, allow_identifiers=False)
            typed = isinstance(kind, exp.DataType) and self._curr.token_type.name == "STRING"
            self._retreat(at)
            return typed
