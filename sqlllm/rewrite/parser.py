"""DuckDB's dialect for sqlglot, but for what it reads or writes otherwise than DuckDB."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import duckdb
from sqlglot import TokenType, exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.generators.duckdb import DuckDBGenerator
from sqlglot.parsers.duckdb import DuckDBParser

SYNTAX = frozenset({"CAST", "EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "TRY_CAST"})
"""Functions with words between their arguments."""

OVER_AGGREGATES = frozenset(
    {
        "GEOMEAN", "GEOMETRIC_MEAN", "JSON_GROUP_ARRAY", "JSON_GROUP_OBJECT",
        "JSON_GROUP_STRUCTURE", "PERCENTILE_CONT", "PERCENTILE_DISC", "VARIANT_GROUP_ARRAY", "WAVG",
        "WEIGHTED_AVG",
    }
)  # fmt: skip
"""DuckDB's own macros over aggregates, and aggregates that only its parser knows."""

OF_MANY_ROWS = frozenset({"GENERATE_SUBSCRIPTS", "REGEXP_SPLIT_TO_TABLE"})
"""DuckDB's own macros over `unnest`."""


def _functions() -> tuple[frozenset[str], frozenset[str]]:
    """Names of what DuckDB computes of many rows, and of what gives each row a value by itself."""
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT upper(function_name), bool_or(function_type IN ('aggregate', 'window')),"
            " bool_and(function_type IN ('scalar', 'macro') AND (stability <> 'VOLATILE'"
            " OR stability IS NULL OR function_name IN ('random', 'uuid', 'gen_random_uuid')))"
            " FROM duckdb_functions() GROUP BY ALL"
        ).fetchall()
    aggregates = frozenset(name for name, aggregate, _ in rows if aggregate) | OVER_AGGREGATES
    scalars = frozenset(name for name, _, scalar in rows if scalar) | {"TRY"}
    return aggregates, scalars - aggregates - OF_MANY_ROWS


AGGREGATES, SCALARS = _functions()


def _aggregate(name: str, arguments: list[exp.Expr]) -> exp.AnonymousAggFunc:
    return exp.AnonymousAggFunc(this=name, expressions=arguments)


class AiDuckDB(DuckDB):
    """DuckDB's dialect: parse with it, and write with it."""

    INDEX_OFFSET = 0  # else an index is shifted where sqlglot takes its operand for a list
    SUPPORTS_ORDER_BY_ALL = False  # there any column of that name is ALL; see the parser

    def to_json_path(self, path: exp.Expr | None) -> exp.Expr | None:
        """As it is: in DuckDB `'a.b'` is a key, which sqlglot would write as a path."""
        return path

    class Generator(DuckDBGenerator):
        """What was read as it was written, with parentheses that its trees need."""

        MULTI_ARG_DISTINCT = True  # else count(DISTINCT a, b) becomes that of a row
        IGNORE_RESPECT_NULLS_WINDOW_FUNCTIONS: ClassVar[Any] = exp.AnonymousAggFunc

        def withingroup_sql(self, expression: exp.WithinGroup) -> str:
            """As it was written: DuckDB reads `mode() WITHIN GROUP (ORDER BY x)`, too."""
            sql: str = super(DuckDBGenerator, self).withingroup_sql(expression)
            return sql

        def if_sql(self, expression: exp.If) -> str:
            """As it was written, not as a CASE."""
            return self.func("IF", *map(expression.args.get, ("this", "true", "false")))

        def join_sql(self, expression: exp.Join, *given: Any) -> str:
            """`FROM t, unnest(t.l)` as it was written, not with ON TRUE."""
            if isinstance(expression.this, exp.Unnest):
                sql: str = super(DuckDBGenerator, self).join_sql(expression, *given)
            else:
                sql = super().join_sql(expression, *given)
            return sql

        def ordered_sql(self, expression: exp.Ordered) -> str:
            """With ASC, DESC and the place of NULLs where they were written, and only there."""
            desc = expression.args.get("desc")
            order = "" if desc is None else " DESC" if desc else " ASC"
            nulls = expression.meta.get("nulls")
            return self.sql(expression, "this") + order + (f" {nulls}" if nulls else "")

        def not_sql(self, expression: exp.Not) -> str:
            """`(NOT k IN (1)) = b`, which DuckDB would read as `NOT (k IN (1) = b)`."""
            sql: str = super().not_sql(expression)
            parent = expression.parent
            alone = not isinstance(parent, exp.Binary) or isinstance(parent, exp.Connector | exp.Is)
            return sql if alone else f"({sql})"

    class Parser(DuckDBParser):
        """With literals as DuckDB reads them, and functions as they were written.

        It knows those that the rules ask about; of others sqlglot may take arguments for others, or
        write the function of another database.
        """

        FUNCTIONS: ClassVar = {
            **{name: partial(_aggregate, name) for name in AGGREGATES},
            **{
                name: DuckDBParser.FUNCTIONS[name]
                for name in ("COALESCE", "COLUMNS", "COUNT", "IFNULL", "UNNEST")
            },
        }
        TYPE_CONVERTERS: ClassVar = {}  # `DECIMAL`, `VARCHAR(9)` as they were written
        ARRAY_CONSTRUCTORS: ClassVar = {"ARRAY": exp.Array}  # `list(x)[1]` is none
        FUNCTION_PARSERS: ClassVar = {
            name: read for name, read in DuckDBParser.FUNCTION_PARSERS.items() if name in SYNTAX
        }

        LAMBDAS: ClassVar = {
            **DuckDBParser.LAMBDAS,
            TokenType.FARROW: lambda parser, names: exp.PropertyEQ(
                this=names[0], expression=parser._parse_disjunction() or parser._parse_select()
            ),
        }  # `name => value` is `name := value`

        def _parse_in(self, this: exp.Expr | None, alias: bool = False) -> exp.In:
            """`k IN [1, NULL]` asks a list, to which NULL is a value like others."""
            if self._curr is not None and self._curr.token_type.name == "L_BRACKET":
                return exp.In(this=this, field=self._parse_column())
            found: exp.In = super()._parse_in(this, alias)
            return found

        def _parse_interval_span(self, this: exp.Expr, *given: Any, **asked: Any) -> Any:
            """`INTERVAL '1 day 01:02:03'` is read by DuckDB: sqlglot keeps one unit of it."""
            at = self._index
            found: exp.Expr = super()._parse_interval_span(this.copy(), *given, **asked)
            if self._index == at and isinstance(this, exp.Literal) and this.is_string:
                return exp.Cast(this=this, to=exp.DataType.build("INTERVAL", dialect="duckdb"))
            return found

        def _parse_primary(self) -> exp.Expr | None:
            """`.5` is no `0.5`, which has a digit more."""
            found: exp.Expr | None = super()._parse_primary()
            if isinstance(found, exp.Literal) and not found.is_string:
                before = self._tokens[self._index - 2 :][:1]
                if before and before[0].token_type.name == "DOT":
                    found.set("this", f".{self._prev.text}")
            return found

        def _parse_paren(self) -> exp.Expr | None:
            """`(a,)` is a row of one value, which sqlglot would write as `(a)`."""
            found: exp.Expr | None = super()._parse_paren()
            if isinstance(found, exp.Tuple) and len(found.expressions) == 1:
                return exp.Anonymous(this="row", expressions=found.expressions)
            return found

        def _parse_ordered(self, parse_method: Any = None) -> exp.Ordered | None:
            """`ORDER BY ALL` names no column, `ORDER BY "all"` does."""
            found: exp.Ordered | None = super()._parse_ordered(parse_method)
            key = found.this if found is not None else None
            if found is not None and isinstance(key, exp.Column) and key.sql().upper() == "ALL":
                found.set("this", exp.var("ALL"))
            last = [token.text.upper() for token in self._tokens[self._index - 2 : self._index]]
            if found is not None and last in (["NULLS", "FIRST"], ["NULLS", "LAST"]):
                found.meta["nulls"] = " ".join(last)  # the default is a setting of the user's
            return found

        def _parse_lambda(self, alias: bool = False) -> exp.Expr | None:
            """`f(data -> 'key')` is no function of `data`: its result would be a constant."""
            at = self._index
            ahead = [token.token_type.name for token in self._tokens[at + 1 : at + 3]]
            if ahead in (["ARROW", kind] for kind in ("STRING", "NUMBER", "PARAMETER")):
                found: exp.Expr | None = self._parse_select_or_expression(alias=alias)
                if self._match_set(self.LAMBDA_ARG_TERMINATORS, advance=False):
                    return found
                self._retreat(at)
            other: exp.Expr | None = super()._parse_lambda(alias)
            return other

        def _parse_type(self, *given: Any, **asked: Any) -> exp.Expr | None:
            """`DATE '2026-01-01'::VARCHAR` is text: what stands behind a literal is of its type.

            sqlglot has it of the string, and the type around both.
            """
            typed = self._at_typed_literal()
            found: exp.Expr | None = super()._parse_type(*given, **asked)
            if not typed or found is None or not isinstance(found.this, exp.Expr):
                return found  # `NULL 'a'` names a column
            if isinstance(found.this, exp.Literal):
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


def binds_otherwise(arrow: exp.Expr) -> bool:
    """Whether `->` stands beside another operator: `a -> b || c` is `a -> (b || c)` to DuckDB."""
    arrows = exp.JSONExtract | exp.JSONExtractScalar
    while isinstance(arrow.parent, arrows) and arrow.arg_key == "this":
        arrow = arrow.parent
    parent = arrow.parent
    if isinstance(parent, exp.Paren | exp.PropertyEQ):
        return False
    called = isinstance(parent, exp.Func) and not isinstance(parent, exp.Connector)
    return isinstance(parent, exp.Binary | exp.Unary | exp.In | exp.Between) and not called
