"""`ai.agg` and `ai.summarize_agg` in Polars: one call for all groups."""

from __future__ import annotations

import polars as pl
import pytest
from test_polars import used  # noqa: F401

import sqlllm
from sqlllm import polars as ai

GROUPS = pl.DataFrame(
    {"g": [1, 2, 1, 3, 2, 1], "x": ["late", "broken", "late", None, "big", "cold"]}
)


@pytest.mark.parametrize("name", ["agg", "summarize_agg"])
def test_aggregates(db: sqlllm.Connection, fake: sqlllm.FakeModel, name: str) -> None:
    more = ", 'what is wrong?'" if name == "agg" else ""
    query = f"SELECT g, ai.{name}(x{more}) AS x FROM GROUPS GROUP BY g ORDER BY g"
    expected = db.execute(query).fetchall()
    assert [row[1] is None for row in expected] == [False, False, True]
    method = getattr(pl.col("x").ai, name)
    expr = method("what is wrong?") if more else method()
    grouped = GROUPS.lazy().group_by("g").agg(expr).sort("g")
    assert grouped.collect_schema() == {"g": pl.Int64, "x": pl.String}
    fake.inputs.clear()
    for engine in ("in-memory", "streaming"):
        assert grouped.collect(engine=engine).rows() == expected
    assert GROUPS.group_by("g").agg(expr).sort("g").rows() == expected
    assert GROUPS.select("g", expr.over("g")).unique().sort("g").rows() == expected
    assert fake.inputs == []
    fake.fingerprint, fake.batches = "anew", []
    GROUPS.group_by("g").agg(expr)
    assert fake.batches == [2]  # one call for all groups
    whole = db.execute(f"SELECT ai.{name}(x{more}) FROM GROUPS").fetchone()
    assert GROUPS.select(expr).row(0) == whole
    assert GROUPS.with_columns(y=expr)["y"].to_list() == [*whole] * 6
    tried = getattr(ai, f"try_{name}")(pl.col("x"), *(["what is wrong?"] if more else []))
    assert GROUPS.select(tried).row(0) == ({"value": whole[0], "error": None},)
