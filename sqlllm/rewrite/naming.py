"""The names of a result's columns: those that DuckDB gives after what the user wrote."""

from __future__ import annotations

from sqlglot import exp

from sqlllm.rewrite import Columns
from sqlllm.rewrite.parser import AiDuckDB
from sqlllm.rewrite.source import place_of


def keep_names(tree: exp.Expr, original: str, columns: Columns) -> bool:
    """Name the result's columns as DuckDB names them, after the text that the user wrote.

    False where the names can't be found out.
    """
    projections = result_of(tree)
    if not any(map(is_unnamed, projections)):
        return True  # a rule has named them
    known = columns(original)
    if known is None:
        return False
    counted = True
    for i, projection in enumerate(list(projections)):
        if not is_unnamed(projection):
            continue
        place = place_of(i, projections, len(known))
        if place is None:  # such as unnest of a struct, whose columns have the names of its fields
            counted = False
        else:
            projections[i].replace(exp.alias_(projection.copy(), known[place], quoted=True))
    return counted or columns(tree.sql(AiDuckDB)) == known


def shown_of(tree: exp.Expr) -> exp.Expr:
    """The query whose columns get names that somebody sees: a result's, a table's, a file's."""
    query = tree.expression if isinstance(tree, exp.Create) else tree.this
    made = isinstance(tree, exp.Create | exp.Copy) and isinstance(query, exp.Query)
    return query if made and not isinstance(tree.this, exp.Schema) else tree


def result_of(tree: exp.Expr) -> list[exp.Expr]:
    """The select list that names the columns of a query's result."""
    block = tree
    while isinstance(block, exp.SetOperation | exp.Subquery):
        block = block.this
    is_query = isinstance(tree, exp.Query) and isinstance(block, exp.Select)
    return block.expressions if is_query else []


def has_unnamed(tree: exp.Expr) -> bool:
    """Whether a column of the result has neither an alias nor is one of a table."""
    return any(map(is_unnamed, result_of(tree)))


def is_unnamed(projection: exp.Expr) -> bool:
    """Whether DuckDB names it after its text."""
    return not projection.is_star and not isinstance(projection, exp.Alias | exp.Column)
