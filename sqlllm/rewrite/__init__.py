"""SQL in, SQL out. A rule is a pure function of the text; the pipeline is a tuple."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlllm.rewrite.names import names

RULES = (names,)


def rewrite(sql: str, functions: Mapping[str, Sequence[str]]) -> str:
    """The statement(s) as DuckDB gets them.

    Args:
        sql: One or more statements.
        functions: Name -> argument names of everything in `ai`.
    """
    for rule in RULES:
        sql = rule(sql, functions)
    return sql
