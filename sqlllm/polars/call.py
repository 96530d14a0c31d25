"""One call as a Polars expression: the SQL call, over the columns as Arrow."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from sqlllm.errors import CallError
from sqlllm.polars.binding import bound
from sqlllm.polars.dtypes import dtype_of, for_arrow, text_form
from sqlllm.rewrite.aggregates import OVER_LISTS
from sqlllm.sql import Definition

if TYPE_CHECKING:
    from sqlllm.connection import Connection

BATCH, ROW, ANSWER = "__polars_batch", "__polars_row", "__polars_answer"


def expression(
    definition: Definition, row: str, given: Mapping[str, Any], db: Connection | None
) -> pl.Expr:
    """The expression that calls a function.

    Args:
        definition: The function.
        row: The argument that is the row's data.
        given: Its arguments, by name; of `ai.prompt` the values are `values`.
        db: What answers; None: the default connection.

    Raises:
        CallError: No argument is an expression, or a constant has no form in SQL.
    """
    columns: list[pl.Expr] = []
    aggregate = OVER_LISTS.get(definition.name)

    def sql(name: str, value: Any) -> str:
        if isinstance(value, pl.Series):
            value = pl.lit(value)
        if not isinstance(value, pl.Expr):
            return literal(definition.name, name, value)
        columns.append(value.implode() if aggregate and name == row else value)
        return f"__polars_{len(columns) - 1}"

    parts = []
    for name, value in given.items():
        if name == "values":
            parts += [sql(name, each) for each in value]
        else:
            option = f"{name} := " if definition.arguments[name] else ""
            parts.append(option + sql(name, value))
    if not columns:
        msg = f"ai.{definition.name} got no column to read"
        hint = f"give {row} as an expression: pl.col('{row}')"
        raise CallError(msg, hint=hint)
    call = text_form(f"ai.{aggregate or definition.name}({', '.join(parts)})", definition.returns)
    dtype = dtype_of(definition, given, db)
    run = partial(_answers, bound(db), call, dtype)
    # Not elementwise, though it is: Polars would call it chunk by chunk, and move it in front of
    # the filters and joins that were written to spare it rows. Over lists there are few rows.
    return pl.map_batches(columns, run, dtype, is_elementwise=aggregate is not None)


def literal(function: str, name: str, value: Any) -> str:
    """A constant in SQL; what has parts becomes JSON, as the functions read it anyway.

    Example:
        >>> literal("classify", "labels", ["a", "it's"])
        'CAST(\\'["a", "it\\'\\'s"]\\' AS JSON)'
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, Mapping | Sequence) and not isinstance(value, bytes):
        try:
            return f"CAST({literal(function, name, json.dumps(value, ensure_ascii=False))} AS JSON)"
        except TypeError:
            pass
    msg = f"ai.{function}: {name} can't be {value!r}"
    raise CallError(
        msg, hint="write text, numbers, true or false, lists and dicts of them, or pl.col"
    )


def _answers(
    connection: Callable[[], Connection],
    call: str,
    dtype: pl.DataType,
    series: Sequence[pl.Series],
) -> pl.Series:
    """The answers for a batch of rows, in their order."""
    lengths = {len(each) for each in series} - {1}  # a single value stands beside every row
    if len(lengths) > 1:
        each_length = ", ".join(f"{s.name!r} {len(s)}" for s in series)
        msg = f"{call.partition('(')[0]}: its columns differ in length: {each_length}"
        raise CallError(msg, hint="each must have a value for every row, or one for all")
    rows = lengths.pop() if lengths else 1
    for each in series:
        if each.dtype == pl.Object:
            msg = f"{call.partition('(')[0]}: column {each.name!r} holds Python objects"
            raise CallError(msg, hint=f"make it text: pl.col({each.name!r}).map_elements(str, ...)")
    series = [each if len(each) == rows else each.new_from_index(0, rows) for each in series]
    batch = for_arrow(pl.DataFrame({f"__polars_{i}": each for i, each in enumerate(series)}))
    with connection().cursor() as con:
        con.register(BATCH, pa.table(batch.with_row_index(ROW)))  # DuckDB itself would copy it
        answers = con.arrow_table(f"SELECT {ROW}, {call} AS {ANSWER} FROM {BATCH}")
    found = pl.DataFrame(answers)
    if not found[ROW].is_sorted():  # as `SET preserve_insertion_order = false` allows
        found = found.sort(ROW)
    return found[ANSWER].cast(dtype).alias(series[0].name)
