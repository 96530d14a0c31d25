"""What questions over 2,000 film reviews cost, asked of a model that knows the labels."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sqlllm

FILE = Path(__file__).parent.parent.parent / "shared" / "data" / "movie_reviews" / "Reviews.csv"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="movie_reviews is not beside this checkout"
)


@pytest.fixture
def oracle() -> sqlllm.FakeModel:
    with FILE.open(encoding="utf-8") as file:
        sentiment = {row["reviewText"]: row["scoreSentiment"] for row in csv.DictReader(file)}

    def answer(task: sqlllm.Task, text: str) -> Any:
        if text.startswith("Text A: "):
            a, b = text.removeprefix("Text A: ").split("\nText B: ")
            return sentiment[a] == sentiment[b]
        if task.yes_no:
            return sentiment[text] == "POSITIVE"
        return sentiment[text]

    return sqlllm.FakeModel(answer)


@pytest.fixture
def db(oracle: sqlllm.FakeModel) -> Iterator[sqlllm.Connection]:
    with sqlllm.connect(models={"oracle": oracle}, model="oracle") as con:
        con.execute("CREATE TABLE r AS FROM read_csv($1)", [str(FILE)])
        yield con


def test_five_positive_reviews(db: sqlllm.Connection, oracle: sqlllm.FakeModel) -> None:
    rows = db.execute(
        "SELECT scoreSentiment FROM r WHERE ai.filter(reviewText, 'clearly positive?') LIMIT 5"
    ).fetchall()
    assert rows == [("POSITIVE",)] * 5
    assert len(oracle.inputs) <= 16


def test_five_positive_reviews_of_one_film(db: sqlllm.Connection, oracle: sqlllm.FakeModel) -> None:
    labels = db.execute("SELECT scoreSentiment FROM r WHERE id = 'taken_3'").fetchall()
    fifth = [i for i, (label,) in enumerate(labels, 1) if label == "POSITIVE"][4]
    rows = db.execute(
        "SELECT scoreSentiment FROM r "
        "WHERE id = 'taken_3' AND ai.filter(reviewText, 'positive?') LIMIT 5"
    ).fetchall()
    assert rows == [("POSITIVE",)] * 5
    assert len(oracle.inputs) <= 2 * fifth


def test_count_of_positive_reviews_of_one_film(
    db: sqlllm.Connection, oracle: sqlllm.FakeModel
) -> None:
    count = "SELECT count(*) FROM r WHERE id = 'taken_3' AND "
    found = db.execute(f"{count} ai.filter(reviewText, 'positive?')").fetchone()
    assert found == db.execute(f"{count} scoreSentiment = 'POSITIVE'").fetchone()
    assert db.execute(
        "SELECT count(DISTINCT reviewText) FROM r WHERE id = 'taken_3'"
    ).fetchone() == (len(oracle.inputs),)


BIGGEST = (
    "(SELECT * FROM r WHERE id = (SELECT id FROM r GROUP BY id ORDER BY count(*) DESC LIMIT 1))"
)


def test_ten_pairs_of_one_sentiment(db: sqlllm.Connection, oracle: sqlllm.FakeModel) -> None:
    rows = db.execute(
        f"SELECT a.scoreSentiment, b.scoreSentiment FROM {BIGGEST} AS a JOIN {BIGGEST} AS b "
        "ON a.reviewId <> b.reviewId "
        "AND ai.match(a.reviewText, b.reviewText, 'express the same sentiment') LIMIT 10"
    ).fetchall()
    assert len(rows) == 10
    assert all(a == b for a, b in rows)
    assert len(oracle.inputs) <= 60


def test_all_pairs_of_one_sentiment(db: sqlllm.Connection, oracle: sqlllm.FakeModel) -> None:
    pairs = (
        f"SELECT count(*) FROM {BIGGEST} AS a JOIN {BIGGEST} AS b ON a.reviewId <> b.reviewId AND"
    )
    labels = "['POSITIVE', 'NEGATIVE']"
    found = db.execute(
        f"{pairs} ai.classify(a.reviewText, {labels}) = ai.classify(b.reviewText, {labels})"
    ).fetchone()
    assert found == db.execute(f"{pairs} a.scoreSentiment = b.scoreSentiment").fetchone()
    assert len(oracle.inputs) <= 256


def test_ten_best_scored(db: sqlllm.Connection, oracle: sqlllm.FakeModel) -> None:
    rows = db.execute(
        f"SELECT scoreSentiment FROM {BIGGEST} "
        "ORDER BY ai.score(reviewText, 'positive?') DESC LIMIT 10"
    ).fetchall()
    assert rows == [("POSITIVE",)] * 10
    assert len(oracle.inputs) == len(set(oracle.inputs)) <= 256
