"""What has no form in DuckDB or Arrow, and columns that don't fit together."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import sqlllm
from sqlllm import polars as ai


@pytest.mark.parametrize(
    "other", [pl.Series(["p", "q"]), pl.col("x").head(2), pl.col("x").filter(pl.col("x") == "no")]
)
def test_columns_of_other_lengths_are_refused(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, other: Any
) -> None:
    frame = pl.DataFrame({"x": ["a", "b", "c"]})
    with ai.using(db), pytest.raises(Exception, match=r"ai\.prompt: its columns differ in length"):
        frame.with_columns(y=ai.complete(ai.prompt("{0}/{1}", pl.col("x"), other)))
    assert fake.inputs == []
    with ai.using(db):
        made = frame.select(y=ai.prompt("{0}/{1}", pl.col("x"), pl.lit("z")))
    assert made["y"].to_list() == ["a/z", "b/z", "c/z"]


def test_python_objects_are_refused(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    """Their addresses would be read as texts."""
    frame = pl.DataFrame({"x": [{1}, {2}]}, schema={"x": pl.Object})
    with ai.using(db), pytest.raises(Exception, match="column 'x' holds Python objects"):
        frame.select(pl.col("x").ai.complete())
    assert fake.inputs == []


def test_durations_and_wide_integers_are_read(db: sqlllm.Connection) -> None:
    from datetime import timedelta

    given = {"d": [timedelta(days=1, seconds=1), None], "i": [1 << 100, None], "x": ["a", "b"]}
    frame = pl.DataFrame(given, schema={"d": pl.Duration("us"), "i": pl.Int128, "x": pl.String})
    query = "SELECT d, i, ai.complete(x) AS y FROM self"
    with ai.using(db):
        for made in (frame.ai.sql(query), frame.lazy().ai.sql(query).collect()):
            assert made["d"].to_list() == given["d"]
            assert [None if i is None else int(i) for i in made["i"]] == given["i"]
            assert made["y"].to_list() == ["A", "B"]
        assert frame.select(pl.col("i").ai.complete())["i"].to_list() == [str(1 << 100), None]
        with pytest.raises(
            sqlllm.CallError, match="column 'm' has an INTERVAL of months"
        ) as caught:
            frame.ai.sql("SELECT INTERVAL 1 MONTH AS m FROM self")
    assert caught.value.hint == "cast it: m::VARCHAR"


def test_a_lazy_frame_runs_queries_only(db: sqlllm.Connection) -> None:
    lazy = pl.LazyFrame({"x": ["a", "b"]})
    with ai.using(db):
        with pytest.raises(sqlllm.CallError, match="takes a query whose columns are known before"):
            lazy.ai.sql("CREATE TABLE made AS FROM self")
        with pytest.raises(sqlllm.CallError, match="columns are known before it runs"):
            lazy.ai.sql("PIVOT self ON x USING count(*)")
        assert lazy.collect().ai.sql("PIVOT self ON x USING count(*)").columns == ["a", "b"]
    assert db.execute("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
