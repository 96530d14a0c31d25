"""A model that hands over something else than was asked: nothing of it is kept or reaches a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import sqlllm
from sqlllm import Batch, FakeModel, Model

ROWS = "(VALUES ('a'), ('b'), ('c'), ('d')) t(x)"
COMPLETE = f"SELECT x, ai.complete(x) FROM {ROWS}"
CLASSIFY = f"SELECT x, ai.classify(x, ['a', 'b', 'c']) FROM {ROWS}"
EMBED = f"SELECT x, ai.embed(x) FROM {ROWS}"
Gives = Callable[[list[str]], Any]


def connected(kind: str, gives: Gives) -> sqlllm.Connection:
    made = type("Mine", (Model,), {kind: lambda _, __, inputs: gives(inputs)})()
    return sqlllm.connect(models={"mine": made}, model="mine", embed_model="mine", cache="memory")


def upper(inputs: list[str]) -> list[str]:
    return [text.upper() for text in inputs]


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda i: iter([Batch([0, 1, 2, 3, 0], [*upper(i), "X"])]), "position 0, which nobody"),
        (lambda i: iter([Batch([-1], ["X"])]), "position -1, which nobody"),
        (lambda i: iter([Batch([9], ["X"])]), "position 9, which nobody"),
        (lambda i: iter([Batch([0.0], ["X"])]), r"position 0\.0, which nobody"),
        (lambda i: iter([Batch([0], ["A"]), Batch([0], ["B"])]), "position 0, which nobody"),
        (lambda i: iter([Batch(range(4), upper(i)[1:])]), "gave 3 answers for 4 rows"),
        (lambda i: iter([Batch(range(2), upper(i))]), "gave 4 answers for 2 rows"),
        (lambda i: iter([Batch(range(4), set(upper(i)))]), "gave 4 answers for 4 rows"),
        (lambda i: None, "gave NoneType, not batches"),
        (lambda i: iter(["x"]), "which is no Batch"),
        (lambda i: iter([Batch([0], ["A"], errors={0: sqlllm.ModelError("x")})]), "position 0"),
    ],
)
def test_positions(gives: Gives, message: str) -> None:
    with connected("complete", gives) as db:
        for _ in range(2):
            with pytest.raises(sqlllm.ModelError, match=f"model 'mine' .*{message}"):
                db.execute(COMPLETE)
        assert db.execute("SELECT sum(sent) FROM ai.usage").fetchone() in [(0,), (2,)]


def test_what_came_out_of_place_is_not_kept() -> None:
    batches = [
        lambda i: iter([Batch(range(len(i)), upper(i)[1:])]),
        lambda i: iter([Batch(range(len(i)), upper(i))]),
    ]
    with connected("complete", lambda i: batches.pop(0)(i)) as db:
        with pytest.raises(sqlllm.ModelError, match="gave 3 answers"):
            db.execute(COMPLETE)
        assert db.execute(COMPLETE).fetchall() == [(x, x.upper()) for x in "abcd"]


@pytest.mark.parametrize("answer", [None, 1, b"x", ["x"]])
def test_what_is_no_text_is_that_rows_error(answer: Any) -> None:
    def gives(inputs: list[str]) -> list[Batch]:
        answers = [answer if text == "b" else text.upper() for text in inputs]
        return [Batch(range(len(inputs)), answers)]

    with connected("complete", gives) as db:
        with pytest.raises(sqlllm.BadAnswer, match="is no text"):
            db.execute(COMPLETE)
        query = f"SELECT ai.try_complete(x).value, ai.complete(x, on_error := 'null') FROM {ROWS}"
        values = db.execute(query).fetchall()
        assert values == [("A", "A"), (None, None), ("C", "C"), ("D", "D")]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("complete(x", "half of a pair \ud83d"),
        ("""extract(x, '{"type": "object"}'""", '{"half of a pair": "\\ud83d"}'),
        ("""extract(x, '{"type": "object"}'""", '{"a": NaN}'),
        ("""extract(x, '{"type": "object"}'""", '{"a": 1e999}'),
    ],
)
def test_what_duckdb_cant_read_is_that_rows_error(call: str, answer: str) -> None:
    fake = FakeModel(lambda task, text: answer if text == "b" else '{"a": 1}')
    given = {"models": {"fake": fake}, "model": "fake", "cache": "memory"}
    with sqlllm.connect(**given) as db:
        query = f"SELECT ai.try_{call}).value, ai.{call}, on_error := 'null') FROM {ROWS}"
        good, bad = ('{"a": 1}',) * 2, (None, None)
        assert db.execute(query).fetchall() == [good, bad, good, good]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.array([[0.1], [0.9], [0.0], [0.0]]), r"shape \(4, 1\), not \(rows, 3\)"),
        (np.ones((4, 2)), r"shape \(4, 2\), not \(rows, 3\)"),
        (np.ones(4), r"shape \(4,\), not \(rows, 3\)"),
        ([["x"] * 3] * 4, "no table of numbers"),
        ([[np.nan] * 3] * 4, "has what is not a probability"),
        ([[7, 0, 0]] * 4, "has what is not a probability"),
        ([[-1, 1, 1]] * 4, "has what is not a probability"),
    ],
)
def test_probabilities(table: Any, message: str) -> None:
    wrong = pytest.raises(sqlllm.ModelError, match=message)
    with connected("choose", lambda i: iter([Batch(range(4), table)])) as db, wrong:
        db.execute(CLASSIFY)


def test_vectors() -> None:
    def vector(task: Any, text: str) -> list[float]:
        return [1.0] * (2 if text == "a" else 4)

    for size in (1, None):
        fake = FakeModel(vector, batch_size=size)
        wrong = pytest.raises(sqlllm.ModelError, match=r"of 4 numbers, and of 2|not all as many")
        given = {"models": {"fake": fake}, "embed_model": "fake", "cache": "memory"}
        with sqlllm.connect(**given) as db, wrong:
            db.execute(EMBED)
    empty = pytest.raises(sqlllm.ModelError, match=r"shape \(4, 0\), not \(rows, dimensions\)")
    with connected("embed", lambda i: iter([Batch(range(4), [[]] * 4)])) as db, empty:
        db.execute(EMBED)
    wrong = pytest.raises(sqlllm.BadAnswer, match="has what is not finite")
    with connected("embed", lambda i: iter([Batch(range(4), [[np.nan, 1.0]] * 4)])) as db, wrong:
        db.execute(EMBED)


def test_a_model_that_goes_on_is_stopped() -> None:
    def endless(inputs: list[str]) -> Any:
        yield Batch(range(4), upper(inputs))
        while True:
            yield Batch([], [])

    with connected("complete", endless) as db:
        assert db.execute(COMPLETE).fetchall() == [(x, x.upper()) for x in "abcd"]


def test_answers_that_are_nested_too_deep_to_be_read() -> None:
    deep = "[" * 100_000
    with connected("extract", lambda i: iter([Batch(range(len(i)), [deep] * len(i))])) as db:
        query = """SELECT ai.extract('a', '{"type": "array"}', on_error := 'null')"""
        assert db.execute(query).fetchall() == [(None,)]


def test_answers_of_another_form_than_the_schemas() -> None:
    with connected("extract", lambda i: iter([Batch(range(len(i)), ["not json"] * len(i))])) as db:
        schema = """'{"type": "object"}'"""
        query = (
            f"SELECT ai.try_extract('a', {schema}), ai.extract('a', {schema}, on_error := 'null')"
        )
        ((tried, null),) = db.execute(query).fetchall()
        assert tried == {"value": None, "error": "the answer 'not json' is no JSON"}
        assert null is None
    fake = FakeModel(lambda task, text: '"hello"')
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off") as db:
        found = db.execute("SELECT ai.answer('q', 'c'), ai.try_answer('q', 'c').error")
        assert found.fetchone() == (None, None)


def test_a_limit_that_is_not_named_stays() -> None:
    import duckdb

    fake = FakeModel(lambda task, text: text)
    given = {"models": {"fake": fake}, "model": "fake", "cache": "off"}
    for first, second in (
        ({"max_calls": 1}, {"max_tokens": 1000}),
        ({"caps": {"fake": {"max_calls": 1}}}, {"caps": {"fake": {"max_tokens": 1000}}}),
    ):
        with duckdb.connect() as con:
            sqlllm.install(con, **given, **first)
            sqlllm.install(con, **given, **second)
            with pytest.raises(Exception, match="max_calls"):
                con.execute(COMPLETE)
