from __future__ import annotations

import threading

import pyarrow as pa
import pytest

import sqlllm
from sqlllm.sql import definitions

ROWS = "(VALUES ('good bug'), (NULL), ('bad'), ('good bug'), ('')) t(x)"


@pytest.mark.parametrize(
    ("call", "expected", "sent"),
    [
        ("ai.complete(x)", ["GOOD BUG", None, "BAD", "GOOD BUG", ""], 3),
        ("ai.classify(x, ['a', 'bug'])", ["bug", None, "a", "bug", "a"], 3),
        ("ai.classify(x, {'a': 'first', 'bug': 'second'})", ["bug", None, "a", "bug", "a"], 3),
        ("ai.classify(x, MAP {'a': 'first', 'bug': ''})", ["bug", None, "a", "bug", "a"], 3),
        ("ai.filter(x, 'is it good?')", [True, None, False, True, False], 3),
        ("ai.score(x, 'is it good?')", [1.0, None, 0.0, 1.0, 0.0], 3),
        ("ai.match(x, 'bad', 'alike')", [True, None, False, True, False], 3),
        ("ai_filter(x, 'is it good?')", [True, None, False, True, False], 3),
        ("len(ai.embed(x))", [3, None, 3, 3, 3], 3),
        ("round(ai.similarity(x, x), 5)", [1.0, None, 1.0, 1.0, 1.0], 3),
        ("ai.count_tokens(x)", [2, None, 1, 2, 0], 0),
    ],
)
def test_rows_and_calls(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, call: str, expected: list[object], sent: int
) -> None:
    rows = db.execute(f"SELECT {call} FROM {ROWS}").fetchall()
    assert [row[0] for row in rows] == expected
    assert len(fake.inputs) == sent


def test_scores_are_sorted_and_sum_to_one(db: sqlllm.Connection) -> None:
    (scores,) = db.execute("SELECT ai.classify_scores('bug', ['a', 'bug', 'c'])").fetchone()
    assert scores[0] == {"label": "bug", "score": 1.0}
    assert [score["label"] for score in scores] == ["bug", "a", "c"]
    assert sum(score["score"] for score in scores) == pytest.approx(1)
    assert db.execute("SELECT ai.classify_scores(NULL, ['a', 'b'])").fetchone() == (None,)


def test_options_from_a_column(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    rows = db.execute(
        "SELECT ai.classify(x, labels) FROM "
        "(VALUES ('q', ['q', 'r']), ('q', ['s', 't']), ('r', ['q', 'r'])) t(x, labels)"
    ).fetchall()
    assert rows == [("q",), ("s",), ("r",)]
    assert len(fake.inputs) == 3


def test_long_options_are_read_once_a_chunk_and_not_kept(db: sqlllm.Connection) -> None:
    held = pa.total_allocated_bytes()
    db.execute("SET VARIABLE long = repeat('x', 2000)")
    for end in ("''", "i % 2"):
        call = f"ai.complete('a', system := getvariable('long') || {end})"
        assert set(db.execute(f"SELECT {call} FROM range(4000) r(i)").fetchall()) == {("A",)}
    db.execute("SELECT 1")
    assert pa.total_allocated_bytes() - held < 1 << 20


FRIEND = "[{'text': 'Hello', 'label': 'a'}]"


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        (
            "ai.complete('x', system := 's', stop := ['a', 'b'], temperature := 0.5, top_p := 0.9, "
            "seed := 7, max_tokens := 9, truncate := true)",
            {"system": "s", "stop": ("a", "b"), "temperature": 0.5, "top_p": 0.9, "seed": 7,
             "max_tokens": 9, "truncate": True, "whole": False},
        ),
        ("ai.complete('x', pattern := '[A-Z]+')", {"pattern": "[A-Z]+"}),
        (
            f"ai.classify('x', ['a', 'b'], instruction := 'i', examples := {FRIEND})",
            {"labels": ("a", "b"), "instruction": "i", "examples": (("Hello", "a"),),
             "descriptions": (), "multi": False},
        ),
        (
            "ai.classify_scores('x', {'a': 'first', 'b': ''}, none_of_these := 'c')",
            {"labels": ("a", "b", "c"), "descriptions": ("first", "", "none of the others"),
             "none_of_these": "c"},
        ),
        ("ai.classify_labels('x', ['a', 'b'], instruction := 'i')",
         {"multi": True, "instruction": "i"}),
        ("ai.extract('x', 'DATE', instruction := 'i')", {"kind": "extract", "instruction": "i"}),
        ("ai.sentiment('x')", {"instruction": "What is the sentiment of the text?"}),
        ("ai.translate('x', ' French ')",
         {"system": "Translate the text into French. Reply with the translation alone."}),
        ("ai.summarize('x', max_words := 100, style := 'dry.')",
         {"system": "Summarise the text in at most 100 words. Style: dry. Say only what it says.",
          "max_tokens": 300, "whole": True}),
    ],
)  # fmt: skip
def test_what_a_call_says_reaches_the_model(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, call: str, asked: dict[str, object]
) -> None:
    db.execute(f"SELECT {call}").fetchall()
    (task,) = fake.tasks
    assert {name: getattr(task, name) for name in asked} == asked


def test_distinct_inputs_reach_the_model_once(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    query = "SELECT sum(ai.embed('text ' || (i % 500))[1]) FROM range(100000) t(i)"
    first = db.execute(query).fetchall()
    assert len(fake.inputs) == len(set(fake.inputs)) == 500
    assert db.execute(query).fetchall() == first
    assert len(fake.inputs) == 500
    rows, cached = db.execute(
        "SELECT sum(rows), sum(cached) FROM ai.usage "
        "GROUP BY query_id ORDER BY query_id DESC LIMIT 1"
    ).fetchone()
    assert rows == 100_000
    assert cached >= 500


def test_threads_share_the_work(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    results = []

    def work(cursor: sqlllm.Connection) -> None:
        query = "SELECT count(ai.complete('t' || (i % 300))) FROM range(30000) t(i)"
        results.append(cursor.execute(query).fetchone())

    threads = [threading.Thread(target=work, args=(db.cursor(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(30000,)] * 4
    assert sorted(fake.inputs) == sorted({f"t{i}" for i in range(300)})


def test_prepared_views_and_session_default(fake: sqlllm.FakeModel) -> None:
    with sqlllm.connect(models={"fake": fake}) as db:
        db.execute("SET VARIABLE ai_model = 'fake'")
        assert db.execute("SELECT ai.complete($1)", ["a"]).fetchall() == [("A",)]
        db.execute("CREATE VIEW v AS SELECT ai_complete(x) AS y FROM (VALUES ('b')) t(x)")
        assert db.execute("FROM v").fetchall() == [("B",)]


def test_every_example_of_the_sql_files_runs(db: sqlllm.Connection) -> None:
    for definition in definitions():
        db.execute(definition.example).fetchall()
    listed = {row[0] for row in db.execute("SELECT name FROM ai.functions").fetchall()}
    assert listed == {f"ai.{definition.name}" for definition in definitions() if definition.public}


def test_connections_of_a_process_share_answers(fake: sqlllm.FakeModel) -> None:
    for _ in range(2):
        with sqlllm.connect(models={"fake": fake}, model="fake") as db:
            assert db.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
    assert fake.inputs == ["a"]
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off") as db:
        db.execute("SELECT ai.complete('a')").fetchall()
    assert fake.inputs == ["a", "a"]


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_dataframes_of_the_caller_are_found(db: sqlllm.Connection, library: str) -> None:
    module = pytest.importorskip(library)
    make = module.DataFrame if library == "polars" else module.table
    df = make({"x": ["a", "b"]})
    query = "SELECT ai.complete(x) FROM df ORDER BY x"
    assert db.sql(query).fetchall() == [("A",), ("B",)]
    assert db.cursor().execute(query).fetchall() == [("A",), ("B",)]
    assert len(df) == 2
