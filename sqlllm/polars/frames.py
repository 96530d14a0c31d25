"""`df.ai.sql("SELECT ... FROM self")`: SQL over a frame, on a planned connection."""

from __future__ import annotations

import duckdb
import polars as pl
import pyarrow as pa

from sqlllm.connection import Connection
from sqlllm.errors import CallError
from sqlllm.polars.binding import bound, connection
from sqlllm.polars.dtypes import for_arrow
from sqlllm.variables import named, within


class EagerFrames:
    """What `df.ai` has, for a DataFrame."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def sql(self, query: str) -> pl.DataFrame:
        """The rows of a query that reads this frame as `self`, and other frames by their names.

        It is planned as a whole, so that conditions without calls, LIMIT and joins spare the model
        rows. The frame is read where it is, as Arrow.

        Example:
            >>> import polars as pl, sqlllm
            >>> from sqlllm import polars as ai
            >>> fake = sqlllm.FakeModel(lambda task, text: text.upper())
            >>> df = pl.DataFrame({"id": [1, 2, 3], "x": ["a", "b", "c"]})
            >>> with sqlllm.connect(models={"fake": fake}, model="fake") as db, ai.using(db):
            ...     df.ai.sql("SELECT ai.complete(x) AS y FROM self ORDER BY id LIMIT 1").rows()
            [('A',)]
            >>> fake.inputs
            ['a']
        """
        return _rows(connection(), self._frame, query)


class LazyFrames:
    """What `lf.ai` has, for a LazyFrame."""

    def __init__(self, frame: pl.LazyFrame) -> None:
        self._frame = frame

    def sql(self, query: str) -> pl.LazyFrame:
        """The same, when the LazyFrame is collected; its names and types are found now.

        What comes before the query is collected in full, with all its columns: `select` those that
        the query reads.
        """
        db, variables = connection(), named(query)  # Polars runs it on threads that have none
        answering = bound(db)
        empty = self._frame.collect_schema().to_frame()
        with db.cursor() as con:
            if any(each.type.name != "SELECT" for each in con.extract_statements(query)):
                msg = "a LazyFrame takes a query whose columns are known before it runs"
                raise CallError(
                    msg, hint="give it a query; or collect it first: lf.collect().ai.sql"
                )
            con.register("self", _arrow(empty))
            columns = within(variables, con.sql, query).limit(0).to_arrow_table()
        return self._frame.map_batches(
            lambda frame: within(variables, _rows, answering(), frame, query),
            schema=_frame(columns).schema,
        )


def _rows(db: Connection, frame: pl.DataFrame, query: str) -> pl.DataFrame:
    with db.cursor() as con:
        con.register("self", _arrow(frame))
        return _frame(con.arrow_table(query))


def _arrow(frame: pl.DataFrame) -> pa.Table:
    """The frame where it is; DuckDB itself would copy its texts.

    Before 2.0 it left conditions to pyarrow, which can't filter texts that are views.
    """
    views = not duckdb.__version__.startswith(("0.", "1."))
    frame = for_arrow(frame)
    return pa.table(frame) if views else frame.to_arrow()


def _frame(table: pa.Table) -> pl.DataFrame:
    """The table as Polars has it: an INTERVAL of days and less as a Duration.

    Raises:
        CallError: An INTERVAL has months, whose length nobody knows.
    """
    for at, column in enumerate(table.columns):
        if column.type != pa.month_day_nano_interval():
            continue
        parts, name = column.to_pylist(), table.column_names[at]
        if any(part is not None and part.months for part in parts):
            msg = f"column {name!r} has an INTERVAL of months, which is no Duration"
            raise CallError(msg, hint=f"cast it: {name}::VARCHAR")
        microseconds = [p and p.days * 86_400_000_000 + p.nanoseconds // 1000 for p in parts]
        table = table.set_column(at, name, pa.array(microseconds, pa.duration("us")))
    return pl.DataFrame(table)
