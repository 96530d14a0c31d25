"""The functions as Polars expressions: SQL's answers, in every engine, in one batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from test_contract import CALLS

import sqlllm
from sqlllm import polars as ai
from sqlllm.polars.functions import Expressions

ROOT = Path(__file__).parent.parent

METHODS: dict[str, Callable[[Expressions], pl.Expr]] = {
    "prompt": lambda x: x.prompt("<{0}>"),
    "complete": lambda x: x.complete(),
    "extract": lambda x: x.extract({"type": "object"}),
    "classify": lambda x: x.classify(["a", "bug"]),
    "classify_scores": lambda x: x.classify_scores(["a", "bug"]),
    "classify_labels": lambda x: x.classify_labels(["a", "bug"]),
    "filter": lambda x: x.filter("is it good?"),
    "match": lambda x: x.match("b", "mean the same"),
    "score": lambda x: x.score("is it good?"),
    "embed": lambda x: x.embed(),
    "similarity": lambda x: x.similarity("b"),
    "sentiment": lambda x: x.sentiment(),
    "moderate": lambda x: x.moderate(),
    "translate": lambda x: x.translate("French"),
    "fix_grammar": lambda x: x.fix_grammar(),
    "answer": lambda x: x.answer("why?"),
    "rerank": lambda x: x.rerank("why?"),
    "redact": lambda x: x.redact(entities=["email", "person"]),
    "summarize": lambda x: x.summarize(),
    "split_text": lambda x: x.split_text(),
    "count_tokens": lambda x: x.count_tokens(),
}
"""The calls of test_contract.CALLS."""

Engine = Literal["in-memory", "streaming"]
ENGINES: dict[str, Callable[[pl.DataFrame, pl.Expr], pl.DataFrame]] = {
    "eager": lambda df, expr: df.select(expr),
    "lazy": lambda df, expr: df.lazy().select(expr).collect(),
    "streaming": lambda df, expr: df.lazy().select(expr).collect(engine="streaming"),
}
ROWS = pl.DataFrame({"x": ["a good bug", None, "", "a bug", "a good bug"]})


@pytest.fixture(autouse=True)
def used(db: sqlllm.Connection) -> Iterator[None]:
    with ai.using(db):
        yield


def in_chunks(frame: pl.DataFrame, chunks: int) -> pl.DataFrame:
    size = len(frame) // chunks
    parts = [frame.slice(i * size, size).clone() for i in range(chunks)]
    made = pl.concat(parts, rechunk=False)
    assert made.n_chunks() == chunks
    return made


@pytest.mark.parametrize("name", METHODS)
def test_answers_types_and_nulls_are_those_of_sql(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, name: str
) -> None:
    query = CALLS[name].format(x="x")
    expected = [row[0] for row in db.execute(f"SELECT {query} FROM ROWS").fetchall()]
    sent = len(fake.inputs)
    expr = METHODS[name](pl.col("x").ai)
    for run in ENGINES.values():
        found = run(ROWS, expr)
        assert found["x"].to_list() == expected
        assert found.schema == ROWS.lazy().select(expr).collect_schema()
        assert run(ROWS.clear(), expr).schema == found.schema
        assert run(pl.DataFrame({"x": [None, None]}), expr)["x"].to_list() == [None, None]
    assert len(fake.inputs) == sent
    if name != "prompt":
        tried = METHODS[name](Trying(pl.col("x")))
        assert ROWS.select(tried)["x"].to_list() == [{"value": v, "error": None} for v in expected]


class Trying(Expressions):
    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(name if name.startswith("_") else f"try_{name}")


def test_dtypes_are_known_before_anything_runs(fake: sqlllm.FakeModel) -> None:
    x = pl.col("x")
    label_score = pl.Struct({"label": pl.String, "score": pl.Float64})
    fake.width = 3
    schema = (
        ROWS.lazy()
        .select(
            enum=x.ai.classify({"bug": "a fault", "praise": None}, none_of_these="other"),
            text=x.ai.classify(pl.concat_list(x, x)),
            tried=x.ai.try_classify(["a", "b"]),
            scores=x.ai.classify_scores(["a", "b"]),
            labels=x.ai.classify_labels(["a", "b"]),
            vector=x.ai.embed(),
            unknown=ai.embed(x, model=pl.lit("fake")),
            minilm=x.ai.embed(model="minilm"),
            yes=x.ai.filter("good?"),
            p=x.ai.score("good?"),
            json=x.ai.extract("STRUCT(a DATE)"),
            tried_json=x.ai.try_extract("STRUCT(a DATE)"),
            harm=x.ai.moderate(),
            n=x.ai.count_tokens(),
        )
        .collect_schema()
    )
    assert schema == {
        "enum": pl.Enum(["bug", "praise", "other"]),
        "text": pl.String,
        "tried": pl.Struct({"value": pl.Enum(["a", "b"]), "error": pl.String}),
        "scores": pl.List(label_score),
        "labels": pl.List(pl.String),
        "vector": pl.Array(pl.Float32, 3),
        "unknown": pl.List(pl.Float32),
        "minilm": pl.Array(pl.Float32, 384),
        "yes": pl.Boolean,
        "p": pl.Float64,
        "json": pl.String,
        "tried_json": pl.Struct({"value": pl.String, "error": pl.String}),
        "harm": pl.Struct({"flagged": pl.Boolean, "category": pl.String, "score": pl.Float64}),
        "n": pl.Int64,
    }
    assert fake.inputs == []
    vectors = ROWS.select(x.ai.embed())["x"]
    assert vectors.dtype == pl.Array(pl.Float32, 3)
    assert vectors.null_count() == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_one_batch_for_a_column_of_many_chunks(fake: sqlllm.FakeModel, engine: str) -> None:
    texts = [f"text {i % 1000} good bug" for i in range(100_000)]
    df = in_chunks(pl.DataFrame({"x": texts}), 8)
    for expr in (pl.col("x").ai.classify(["bug", "good"]), pl.col("x").ai.complete()):
        fake.inputs.clear()
        fake.batches.clear()
        found = ENGINES[engine](df, expr)["x"]
        assert len(found) == 100_000
        assert fake.batches == [1000]
        assert len(set(fake.inputs)) == 1000
    assert found.to_list() == [text.upper() for text in texts]


def test_from_file_to_file(fake: sqlllm.FakeModel, tmp_path: Path) -> None:
    texts = [f"text {i % 50}" for i in range(5000)]
    pl.DataFrame({"x": texts}).write_parquet(tmp_path / "a.parquet", row_group_size=500)
    lf = pl.scan_parquet(tmp_path / "a.parquet").with_columns(y=pl.col("x").ai.complete())
    lf.sink_parquet(tmp_path / "b.parquet")
    assert pl.read_parquet(tmp_path / "b.parquet")["y"].to_list() == [t.upper() for t in texts]
    assert fake.batches == [50]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_a_call_sees_the_rows_that_are_there_where_it_is_written(
    fake: sqlllm.FakeModel, engine: Engine
) -> None:
    df = in_chunks(pl.DataFrame({"id": range(800), "x": [f"{i} good" for i in range(800)]}), 8)
    few = pl.LazyFrame({"id": [1, 2]})
    good = pl.col("x").ai.filter("is it good?")
    for lf in (
        df.lazy().filter(pl.col("id") < 2).filter(good),
        df.lazy().join(few, on="id").filter(good),
        df.lazy().head(2).with_columns(good=good),
    ):
        fake.inputs.clear()
        fake.fingerprint += "again"
        assert len(lf.collect(engine=engine)) == 2
        assert len(fake.inputs) == 2
    fake.inputs.clear()
    df.lazy().with_columns(good=good).select("id").collect(engine=engine)
    assert fake.inputs == []  # nobody reads the column


def test_rrf(db: sqlllm.Connection) -> None:
    df = pl.DataFrame({"ranks": [[1, 3], [2, None], [None, None], None]})
    expected = [row[0] for row in db.execute("SELECT ai.rrf(ranks, k := 10) FROM df").fetchall()]
    assert df.select(pl.col("ranks").ai.rrf(k=10))["ranks"].to_list() == expected
    assert expected[2:] == [None, None]


def test_arguments_may_be_columns(fake: sqlllm.FakeModel) -> None:
    df = pl.DataFrame(
        {"a": ["x", "y"], "b": ["x", None], "labels": [["p", "x"], ["y"]], "n": [7, 8]}
    )
    found = df.select(
        both=ai.prompt("{0}-{1}-{2}", pl.col("a"), pl.col("n"), "c"),
        named=ai.prompt("{b}/{n}", pl.struct("b", "n")),
        label=ai.classify(pl.col("a"), pl.col("labels")),
        same=ai.match(pl.col("a"), pl.col("b"), "are the same"),
        asked=ai.answer("why?", pl.col("b")),
        series=ai.complete(pl.Series(["k", "l"])),
        number=pl.col("n").ai.complete(),
        spoken=pl.col("a").ai.complete(model=pl.lit("fake")),
    )
    assert found.to_dict(as_series=False) == {
        "both": ["x-7-c", "y-8-c"],
        "named": ["x/7", None],
        "label": ["x", "y"],
        "same": [False, None],
        "asked": ["Question: why?\nContext: x", None],
        "series": ["K", "L"],
        "number": ["7", "8"],
        "spoken": ["X", "Y"],
    }
    assert df.select(pl.col("a", "b").ai.complete()).columns == ["a", "b"]
    quoted = """it's "so" \\ {0}\n-- ; $1 ?"""
    assert df.select(ai.prompt(quoted, pl.col("a")))["a"][0] == quoted.replace("{0}", "x")


@pytest.mark.parametrize("engine", ENGINES)
def test_errors_are_those_of_sql(engine: str) -> None:
    def answer(task: sqlllm.Task, text: str) -> Any:
        raise sqlllm.ModelError("can't read", hint="write more clearly")

    broken = sqlllm.FakeModel(answer)
    run, df = ENGINES[engine], pl.DataFrame({"x": ["a", None]})
    with sqlllm.connect(models={"m": broken}, model="m") as db, ai.using(db):
        with pytest.raises(sqlllm.ModelError, match="can't read") as caught:
            run(df, pl.col("x").ai.complete())
        assert caught.value.hint == "write more clearly"
        with pytest.raises(sqlllm.UnknownModel, match="unknown model 'mm'") as unknown:
            run(df, pl.col("x").ai.complete(model="mm"))
        assert unknown.value.hint == "did you mean `m`?"
        assert run(df, pl.col("x").ai.complete(on_error="null"))["x"].to_list() == [None, None]
        assert db.sql("SELECT message FROM ai.errors").fetchall() == [("can't read",)]
        tried = run(df, pl.col("x").ai.try_complete())["x"].to_list()
        assert tried == [{"value": None, "error": "can't read"}, {"value": None, "error": None}]


def test_what_is_wrong_with_a_call_is_said_when_it_is_written() -> None:
    x = pl.col("x")
    with pytest.raises(TypeError, match="classify: got an unexpected keyword argument 'modle'"):
        x.ai.classify(["a"], modle="fake")
    with pytest.raises(TypeError, match=r"it is classify\(text, labels, \*, instruction=None"):
        x.ai.classify()
    with pytest.raises(sqlllm.CallError, match=r"ai\.classify got no column to read") as caught:
        ai.classify("x", ["a", "b"])
    assert caught.value.hint == "give text as an expression: pl.col('text')"
    with pytest.raises(sqlllm.CallError, match="labels"):
        x.ai.classify([])
    with pytest.raises(sqlllm.CallError, match="'a'"):
        x.ai.classify(["a", "a"])
    for wrong in (float("nan"), b"bytes", object(), {"a": object()}):
        with pytest.raises(sqlllm.CallError, match=r"ai\.complete: temperature can't be"):
            x.ai.complete(temperature=wrong)


def test_rows_keep_their_order_whatever_duckdb_does(fake: sqlllm.FakeModel) -> None:
    config = {"preserve_insertion_order": "false", "threads": "4"}
    df = pl.DataFrame({"x": [str(i) for i in range(300_000)]})
    with sqlllm.connect(models={"fake": fake}, config=config) as db:
        found = df.select(ai.using(db).prompt("<{0}>", pl.col("x")))["x"]
    assert found.to_list() == [f"<{i}>" for i in range(300_000)]


def test_using_holds_for_what_is_written_in_it(db: sqlllm.Connection) -> None:
    other = sqlllm.FakeModel(lambda task, text: "other")
    df, outside = pl.DataFrame({"x": ["a"]}), pl.col("x")
    with sqlllm.connect(models={"m": other}, model="m") as second:
        mine = ai.using(second)
        assert df.select(mine.complete(outside)).item() == "other"
        with mine:
            assert ai.connection() is second
            inside = outside.ai.complete()
            with mine, ai.using(db):
                assert df.select(outside.ai.complete()).item() == "A"
            assert df.select(ai.complete(outside)).item() == "other"
        assert ai.connection() is db
        assert df.select(inside).item() == "other"  # as it was written
        assert df.select(outside.ai.complete()).item() == "A"
    with pytest.raises(Exception, match="closed"):
        df.select(inside)
    calls = db.execute('SELECT sum("rows") FROM ai.usage WHERE this_session').fetchone()
    assert calls == (2,)


def test_what_is_written_outside_using_is_not_answered_by_it(
    db: sqlllm.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlllm.polars.binding.default", lambda: db)
    with monkeypatch.context() as outside:
        outside.setattr("sqlllm.polars.functions.USED", ContextVar("none", default=None))
        expr = pl.col("x").ai.complete()
    other = sqlllm.FakeModel(lambda task, text: "other")
    with sqlllm.connect(models={"m": other}, model="m") as second, ai.using(second):
        for run in ENGINES.values():
            assert run(ROWS, expr)["x"][0] == "A GOOD BUG"


def test_sql_over_a_frame(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    df = pl.DataFrame({"id": range(100), "x": [f"{i % 10} good" for i in range(100)]})
    others = pl.DataFrame({"id": [3, 4], "y": ["p", "q"]})
    assert len(others) == 2
    query = """SELECT id, y, ai.complete(x) AS z, ai.embed(x) AS v, '{"a": 1}'::JSON AS j
        FROM self JOIN others USING (id) WHERE ai.filter(x, 'is it good?') ORDER BY id LIMIT 1"""
    expected = [(3, "p", "3 GOOD", df.select(pl.lit("3 good").ai.embed()).item().to_list())]
    fake.inputs.clear()
    found = df.ai.sql(query)
    assert [(*row[:3], row[3]) for row in found.rows()] == expected
    assert found["j"].to_list() == ['{"a": 1}']
    assert len(fake.inputs) <= 4
    lf = df.lazy().ai.sql(query)
    assert lf.collect_schema() == found.schema
    fake.inputs.clear()
    for engine in ("in-memory", "streaming"):
        assert lf.collect(engine=engine).equals(found)
    assert df.lazy().ai.sql(query).select("z").collect().item() == "3 GOOD"
    assert fake.inputs == []
    df.ai.sql("CREATE TABLE kept AS FROM self")
    assert db.sql("SELECT count(*) FROM kept").fetchall() == [(100,)]
    with pytest.raises(sqlllm.UnknownFunction, match=r"ai\.clasify"):
        df.ai.sql("SELECT ai.clasify(x, ['a']) FROM self")
    constant = pl.LazyFrame({"x": ["a"]}).ai.sql("SELECT ai.complete('hello') AS y FROM self")
    assert fake.inputs == []  # its types are found without asking
    assert constant.collect().item() == "HELLO"


def test_two_hundred_tickets_are_asked_about_once(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    tickets = pl.read_csv(ROOT / "examples" / "tickets.csv").head(200)
    labels = ["billing", "bug", "delivery", "praise"]
    body = pl.col("body").ai
    exprs = [
        body.classify(labels).alias("topic"),
        body.filter("is it good?").alias("good"),
        body.embed().alias("vector"),
        body.extract({"name": "VARCHAR"}).alias("facts"),
    ]
    calls = f"ai.classify(body, {labels}), ai.filter(body, 'is it good?'), ai.embed(body)"
    query = f"SELECT {calls}, ai.extract(body, {{'name': 'VARCHAR'}}) FROM "
    expected = db.execute(f"{query} tickets").fetchall()
    assert len(expected) == 200
    assert len({row[0] for row in expected}) > 2
    assert len(fake.inputs) == 4 * tickets["body"].drop_nulls().n_unique()
    fake.inputs.clear()
    lazy = tickets.lazy().select(exprs)
    for found in (
        tickets.select(exprs),
        lazy.collect(),
        lazy.collect(engine="streaming"),
        tickets.ai.sql(f"{query} self"),
        tickets.lazy().ai.sql(f"{query} self").collect(),
    ):
        assert found.rows() == expected
    assert fake.inputs == []
