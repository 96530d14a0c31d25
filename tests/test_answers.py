"""What a statement holds of its answers, and that it finds each of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sqlllm
from sqlllm.models.base import Batch, Model
from sqlllm.runtime.answers import ASKED, Answers
from sqlllm.runtime.keys import keys_of
from sqlllm.runtime.texts import Texts


class Even(Model):
    """Finds all labels equally likely, and notes how much memory is in use when it is asked."""

    fingerprint = "even"

    def __init__(self) -> None:
        self.levels: list[int] = []

    def choose(self, task: sqlllm.Task, inputs: Sequence[str]) -> Iterator[Batch]:
        self.levels.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
        share = np.full((len(inputs), len(task.labels)), 1 / len(task.labels), np.float32)
        yield Batch(range(len(inputs)), share)


def test_an_answered_row_takes_little_memory() -> None:
    """One that Python holds takes 250 bytes: a text, an answer, an entry of a dict."""
    even = Even()
    with sqlllm.connect(models={"even": even}, model="even", cache="off") as db:
        db.execute(f"CREATE TABLE t AS SELECT 'text ' || i AS x FROM range({4 * ASKED}) r(i)")
        tracemalloc.start()
        try:
            query = "SELECT count(ai.classify(x, ['a', 'b', 'c'])) FROM t"
            assert db.execute(query).fetchone() == (4 * ASKED,)
        finally:
            tracemalloc.stop()
    assert len(even.levels) == 4
    assert (even.levels[3] - even.levels[1]) / (2 * ASKED) < 40


texts_or_null = st.lists(st.none() | st.text(max_size=3), max_size=9)


@given(st.lists(texts_or_null, max_size=8), st.integers(1, 9), st.booleans())
def test_texts_are_numbered_as_they_come(
    chunks: list[list[str | None]], together: int, again: bool
) -> None:
    texts, numbers = Texts(), dict[str | None, int]()
    texts.ROWS = together
    names = [texts.note(pa.array(chunk, pa.string())) for chunk in chunks] if again else []
    for chunk in chunks:
        for text in chunk:
            if text is not None:
                numbers.setdefault(text, len(numbers))
        found = texts.numbers(pa.array(chunk, pa.string())).tolist()
        assert found == [-1 if text is None else numbers[text] for text in chunk]
        padded = pa.array([None, "?", *chunk], pa.string())[2:]  # a slice begins elsewhere
        assert texts.find(padded).tolist() == found
    for name, chunk in zip(names, chunks, strict=False):
        expected = [-1 if text is None else numbers[text] for text in chunk]
        assert texts.numbers_of(name).tolist() == expected
    assert texts.find(pa.array(["unknown"])) is None
    every = texts.column(np.arange(len(texts)))
    assert every.to_pylist() == list(numbers)
    assert texts.numbers(every).tolist() == list(range(len(numbers)))
    assert (texts.keys(np.arange(len(texts))) == keys_of(every)).all()


def test_chunks_that_differ_in_where_a_text_ends_or_is_null_are_others() -> None:
    texts = Texts()
    for chunk in (["ab", "c"], ["a", "bc"], ["", None], [None, ""], [], [None], ["abc"]):
        numbers = texts.numbers(pa.array(chunk, pa.string()))
        there = [None if n < 0 else texts.column(np.array([n]))[0].as_py() for n in numbers]
        assert there == chunk


@given(
    st.lists(st.dictionaries(st.integers(0, 40), st.integers(-3, 255), max_size=20), max_size=6),
    st.lists(st.integers(0, 50), unique=True),
)
def test_each_answer_is_found_again(added: list[dict[int, int]], asked: list[int]) -> None:
    """As a dict would; an answer below 0 is a failure."""
    expected: dict[int, Any] = {}
    answers = Answers()
    for new in added:
        numbers = np.array(list(new), np.int64)
        waiting = answers.missing(numbers).tolist()
        assert not expected.keys() & set(waiting)
        fresh = [bytes([new[n]]) if new[n] >= 0 else sqlllm.ModelError(str(n)) for n in waiting]
        column = pa.array([a if isinstance(a, bytes) else None for a in fresh], pa.binary())
        failed = {i: a for i, a in enumerate(fresh) if not isinstance(a, bytes)}
        answers.fill(np.array(waiting, np.int64), column, failed)
        expected |= dict(zip(waiting, fresh, strict=True))
    missing = answers.missing(np.array(asked, np.int64)).tolist()
    assert missing == [n for n in asked if n not in expected]
    known = np.array([n for n in asked if n in expected], np.int64)
    found = [expected[n] for n in known.tolist()]
    assert answers.take(known).to_pylist() == [a if isinstance(a, bytes) else None for a in found]
    errors = [(n, expected[n]) for n in known.tolist() if not isinstance(expected[n], bytes)]
    assert answers.errors(known) == errors


@pytest.mark.parametrize("labels", [3, 17])
def test_failures_among_many_rows_keep_their_places(labels: int) -> None:
    names = [f"label {i}" for i in range(labels)]

    def fn(task: sqlllm.Task, text: str) -> str:
        number = int(text.removeprefix("text "))
        if number % 1000 == 7:
            raise sqlllm.ModelError(f"no answer to {number}")
        return task.labels[number % len(task.labels)]

    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off") as db:
        db.execute("CREATE TABLE t AS SELECT i, 'text ' || i AS x FROM range(20000) r(i)")
        call = f"ai.classify(x, {names!r}, on_error := 'null')"
        rows = db.execute(f"SELECT i, {call} FROM t ORDER BY hash(i)").fetchall()
        assert len(fake.inputs) == len(set(fake.inputs)) == 20000
        for i, label in rows:
            assert label == (None if i % 1000 == 7 else names[i % labels])
        with pytest.raises(sqlllm.ModelError, match="no answer to 7"):
            db.execute(f"SELECT ai.classify(x, {names!r}, on_error := 'fail') FROM t")


def test_a_chunk_of_nulls_asks_nothing(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    rows = db.execute("SELECT ai.complete(NULL::VARCHAR) FROM range(3)").fetchall()
    assert rows == [(None,)] * 3
    assert fake.inputs == []
