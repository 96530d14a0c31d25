"""The functions through SQLAlchemy and Ibis, planned and not, on the real libraries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlllm

pytestmark = pytest.mark.filterwarnings("ignore")  # of Ibis and duckdb-engine

ROWS = "SELECT 'text ' || i % 3000 AS x FROM range(9000) r(i)"
ONES = sum("1" in n or "2" not in n for n in map(str, range(3000)))
"""Of the texts, how many the model says are "1"."""


@pytest.fixture(params=["connect", "install"])
def engine(request: pytest.FixtureRequest, fake: sqlllm.FakeModel, tmp_path: Path) -> Iterator[Any]:
    """An engine whose connections are planned, or have the functions alone."""
    sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    wrapper = pytest.importorskip("duckdb_engine", reason="duckdb-engine is not installed")
    path, models = str(tmp_path / "w.duckdb"), {"models": {"fake": fake}, "model": "fake"}
    if request.param == "connect":
        made = sa.create_engine(
            "duckdb://",
            creator=lambda: wrapper.ConnectionWrapper(sqlllm.connect(path, **models)),
        )
    else:
        made = sa.create_engine(f"duckdb:///{path}")
        sa.event.listen(made, "connect", lambda con, _: sqlllm.install(con, **models))
    made.planned = request.param == "connect"
    yield made
    made.dispose()


def test_sqlalchemy(engine: Any, fake: sqlllm.FakeModel) -> None:
    import sqlalchemy as sa

    with engine.begin() as con:
        con.execute(sa.text(f"CREATE TABLE t AS {ROWS}"))
    t = sa.table("t", sa.column("x", sa.String))
    topic = sa.func.ai.classify(t.c.x, ["1", "2"], sa.literal_column("seed := 7"))
    query = sa.select(topic.label("topic"), sa.func.count()).group_by(sa.text("topic"))
    with engine.connect() as one, engine.connect() as two:  # two of the pool
        rows = one.execute(query.order_by("topic")).fetchall()
        assert two.execute(query.order_by("topic")).fetchall() == rows
    assert rows == [("1", 3 * ONES), ("2", 9000 - 3 * ONES)]
    assert sorted(fake.inputs) == sorted(f"text {i}" for i in range(3000))
    assert fake.batches == [3000] if engine.planned else len(fake.batches) > 1


def test_sqlalchemys_errors(engine: Any) -> None:
    import sqlalchemy as sa

    errors = (sqlllm.UnknownModel, sa.exc.DBAPIError)
    with engine.connect() as con, pytest.raises(errors, match="unknown model 'nope'"):
        con.execute(sa.text("SELECT ai.complete(:x, model := 'nope')"), {"x": "a"})
    with engine.connect() as con:  # the connection that failed went back to the pool
        assert con.scalar(sa.text("SELECT ai.complete(:x)"), {"x": "a"}) == "A"
        assert con.scalar(sa.select(sa.func.ai_complete(None))) is None


def test_sqlalchemy_rolls_back(engine: Any) -> None:
    import sqlalchemy as sa

    with engine.begin() as con:
        con.execute(sa.text("CREATE TABLE t AS SELECT 'a' AS x"))
    with engine.connect() as con:
        con.execute(sa.text("INSERT INTO t SELECT ai.complete(x) FROM t"))
        assert con.scalars(sa.text("FROM t ORDER BY x")).all() == ["A", "a"]
        con.rollback()
    with engine.connect() as con:
        assert con.scalars(sa.text("FROM t")).all() == ["a"]


@pytest.mark.parametrize("planned", [True, False])
def test_ibis(planned: bool, fake: sqlllm.FakeModel) -> None:
    ibis = pytest.importorskip("ibis", reason="Ibis is not installed")

    @ibis.udf.scalar.builtin(database="ai")
    def classify(text: str, labels: list[str]) -> str: ...

    @ibis.udf.scalar.builtin
    def shout(text: str) -> str: ...

    models: Any = {"models": {"fake": fake}, "model": "fake"}
    db = sqlllm.connect(**models) if planned else sqlllm.install(duckdb.connect(), **models)
    db.execute(f"CREATE TABLE t AS {ROWS}")
    db.execute("CREATE MACRO shout(x) AS ai.complete(x, seed := 7)")
    con = ibis.duckdb.from_connection(db)
    t = con.table("t")
    topics = t.mutate(topic=classify(t.x, ["1", "2"])).group_by("topic").agg(n=ibis._.count())
    assert topics.order_by("topic").to_pyarrow().to_pylist() == [
        {"topic": "1", "n": 3 * ONES},
        {"topic": "2", "n": 9000 - 3 * ONES},
    ]
    assert sorted(fake.inputs) == sorted(f"text {i}" for i in range(3000))
    assert fake.batches == [3000] if planned else len(fake.batches) > 1

    nothing = ibis.null(str)
    answered = t.limit(1).select(a=shout(t.x.lower()), b=shout(nothing)).execute()
    assert list(answered.a.str.slice(0, 5)) == ["TEXT "]
    assert answered.b.isna().all()
    con.create_table("answered", t.limit(10).select(y=shout(t.x)))
    assert db.execute("SELECT count(y) FROM answered").fetchall() == [(10,)]
    db.close()
