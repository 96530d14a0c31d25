"""The dtype of a call's column, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from sqlllm.polars.binding import default
from sqlllm.sql import Definition, definitions
from sqlllm.task import Task, parse_labels

if TYPE_CHECKING:
    from sqlllm.connection import Connection

WIDE = (pl.Int128, *((pl.UInt128,) if hasattr(pl, "UInt128") else ()))


def for_arrow(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame without integers that Arrow has no type for."""
    return frame.with_columns(pl.col(WIDE).cast(pl.Decimal(38, 0)))


def dtype_of(
    definition: Definition, given: Mapping[str, Any], db: Connection | None
) -> pl.DataType:
    """The dtype: an Enum for constant labels, an Array where the model's width is known.

    Args:
        definition: The function.
        given: Its arguments.
        db: What answers; None: the default connection.
    """
    name = definition.name.removeprefix("try_")
    dtype = _dtypes()[definition.returns]
    special = None
    if name == "classify":
        special = _enum(given)
    elif name == "embed":
        special = _array(given, db)
    if special is None:
        return dtype
    return pl.Struct({"value": special, "error": pl.String}) if definition.name != name else special


def text_form(call: str, returns: str) -> str:
    """The call, with JSON as text: Polars has no type for it."""
    return f"CAST({call} AS {_without_json(returns)})" if "JSON" in returns else call


def _without_json(returns: str) -> str:
    return returns.replace("JSON", "VARCHAR")


@cache
def _dtypes() -> Mapping[str, pl.DataType]:
    """By what a function returns: as DuckDB's Arrow has it."""
    import duckdb

    types = sorted({d.returns for d in definitions() if d.returns != "TABLE"})
    nulls = ", ".join(
        f"CAST(NULL AS {_without_json(each)}) AS c{i}" for i, each in enumerate(types)
    )
    with duckdb.connect() as con:
        found = pl.DataFrame(con.sql(f"SELECT {nulls}").to_arrow_table())
    return dict(zip(types, found.dtypes, strict=True))


def _enum(given: Mapping[str, Any]) -> pl.DataType | None:
    """The labels, where all are constants."""
    labels, none = given.get("labels"), given.get("none_of_these")
    if isinstance(labels, pl.Expr | pl.Series) or isinstance(none, pl.Expr | pl.Series):
        return None
    names, _ = parse_labels(labels)
    names = (*names, none) if none else names
    return pl.Enum(Task("choose", labels=names).labels)  # a Task refuses labels that can't be


def _array(given: Mapping[str, Any], db: Connection | None) -> pl.DataType | None:
    model = given.get("model")
    if isinstance(model, pl.Expr | pl.Series):
        return None
    width = (db or default()).width(model)
    return None if width is None else pl.Array(pl.Float32, width)
