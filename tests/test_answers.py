"""What a statement holds of its answers, and that it finds each of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sqlllm
from sqlllm.models.base import Batch, Model
from sqlllm.runtime import answers as held
from sqlllm.runtime.answers import BLOCK, Answer, Answers, Texts


def column(texts: Sequence[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


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
    with sqlllm.connect(models={"even": even}, model="even", cache_bytes=0) as db:
        db.execute(f"CREATE TABLE t AS SELECT 'text ' || i AS x FROM range({4 * BLOCK}) r(i)")
        tracemalloc.start()
        try:
            query = "SELECT count(ai.classify(x, ['a', 'b', 'c'])) FROM t"
            assert db.execute(query).fetchone() == (4 * BLOCK,)
        finally:
            tracemalloc.stop()
    assert len(even.levels) == 4
    assert (even.levels[3] - even.levels[1]) / (2 * BLOCK) < 40


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers(-3, 255), max_size=20), max_size=6),
    st.lists(st.text(max_size=3), unique=True),
    st.sampled_from([0, 1]),
)
def test_each_answer_is_found_again(
    added: list[dict[str, int]], asked: list[str], width: int
) -> None:
    """As a dict would; a number below 0 is a failure."""
    expected: dict[str, Answer] = {}
    answers = Answers()
    for new in added:
        texts = column(list(new))
        answers, places = answers.merged().with_room(texts, answers.find(texts), width)
        waiting = ~answers.filled(places)
        fresh: list[Answer] = [
            bytes([n]) if n >= 0 else sqlllm.ModelError(text)
            for (text, n), wanted in zip(new.items(), waiting.tolist(), strict=True)
            if wanted
        ]
        answers.fill(places[waiting], fresh)
        known = [text for text, wanted in zip(new, waiting.tolist(), strict=True) if wanted]
        assert not expected.keys() & set(known)
        expected |= dict(zip(known, fresh, strict=True))
    places = answers.find(column(asked))
    assert (places >= 0).tolist() == [text in expected for text in asked]
    found = [expected[text] for text in asked if text in expected]
    at = places[places >= 0]
    assert answers.take(at).to_pylist() == [a if isinstance(a, bytes) else None for a in found]
    failed = [a for a in found if not isinstance(a, bytes)]
    assert [error for _, error in answers.errors(at)] == failed


def test_a_text_is_not_taken_for_another_of_the_same_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_hashes", lambda column: np.zeros(len(column), np.int64))
    texts = Texts(column([str(i) for i in range(100)]))
    for wanted in ("7", "x"):
        (place,) = texts.find(Texts(column([wanted]))).tolist()
        assert place == -1 or texts.column[place].as_py() == wanted


@pytest.mark.parametrize("labels", [3, 17])  # packed, and not
def test_failures_among_many_rows_keep_their_places(labels: int) -> None:
    names = [f"label {i}" for i in range(labels)]

    def fn(task: sqlllm.Task, text: str) -> str:
        number = int(text.removeprefix("text "))
        if number % 1000 == 7:
            raise sqlllm.ModelError(f"no answer to {number}")
        return task.labels[number % len(task.labels)]

    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(models={"fake": fake}, model="fake", cache_bytes=0) as db:
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
