"""`ai.agg(x, 'i')` becomes `ai._agg(list(x), 'i')`: the other rules see the aggregate that it is.

DuckDB does the same by the macro, so this is done only where another rule changes the statement.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from sqlglot import exp

from sqlllm.rewrite import Columns
from sqlllm.rewrite.aggregates import OVER_LISTS
from sqlllm.rewrite.calls import ai_call, call_name, is_named
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.qualify import visible_ctes


def open_aggregates(tree: exp.Expr, result: Collection[exp.Expr], columns: Columns) -> bool:
    """Open all calls in place; whether that gives a column of `result` another name.

    Any other column without a name is given the one that DuckDB gives it now.
    """
    renamed, found = False, list(unopened(tree))
    for call in found:
        for column in _columns_with(call):
            if any(column is other for other in result):
                renamed = True
            else:
                name = exp.to_identifier(_name(column, columns), quoted=True)
                column.replace(exp.Alias(this=column.copy(), alias=name))
    for call in list(unopened(tree)):
        call.replace(opened(call))
    return renamed


def _columns_with(call: exp.Expr) -> Iterator[exp.Expr]:
    """The columns without a name that a call is part of, innermost first."""
    node = call
    while (parent := node.parent) is not None:
        listed = isinstance(parent, exp.Select) and node.arg_key == "expressions"
        if listed and not isinstance(node, exp.Alias):
            yield node
        node = parent


def _name(column: exp.Expr, columns: Columns) -> str:
    block = column.parent
    if isinstance(block, exp.Select) and not any(p.is_star for p in block.expressions):
        known = columns(visible_ctes(block) + block.sql(AiDuckDB))
        if known is not None and column.index is not None:
            return known[column.index]
    return column.sql(AiDuckDB)


def unopened(tree: exp.Expr) -> Iterator[exp.Dot]:
    """The calls that still read a row's text."""
    for dot in tree.find_all(exp.Dot, bfs=False):
        if call_name(dot) in OVER_LISTS:
            yield dot


def opened(call: exp.Dot) -> exp.Expr:
    """The same over `list(...)` of the text."""
    arguments = call.expression.expressions
    text = next((a for a in arguments if is_named(a, "text")), arguments[0])
    others = [a for a in arguments if a is not text]
    rows = text.expression if is_named(text, "text") else text
    made = ai_call(OVER_LISTS[call_name(call) or ""], exp.ArrayAgg(this=rows.copy()), *others)
    made.meta["written"] = call.sql(AiDuckDB)
    return made
