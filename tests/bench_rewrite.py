"""What rewriting takes and what it saves: `make bench-rewrite`.

Milliseconds are medians of several rounds. Inputs are those sent to a model that answers from the
labels of 2,000 film reviews, with rewriting and without; without that data set they are left out.
"""

from __future__ import annotations

import csv
import statistics
import time
from pathlib import Path
from typing import Any

import sqlllm
from sqlllm.rewrite import plan
from sqlllm.sql import definitions

FILE = Path(__file__).parent.parent.parent / "shared" / "data" / "movie_reviews" / "Reviews.csv"
TEN_LINES = """WITH recent AS (SELECT * FROM tickets WHERE created > date '2024-01-01')
SELECT r.id, c.name, ai.classify(r.body, ['billing', 'bug', 'praise']) AS topic,
       ai.score(r.body, 'Is the customer angry?') AS anger,
       CASE WHEN r.lang <> 'en' THEN ai.complete('Translate: ' || r.body) ELSE r.body END AS body
FROM recent AS r
JOIN customers AS c ON c.id = r.customer_id
WHERE c.tier = 'gold' AND r.status = 'open'
  AND ai.filter(r.body, 'the customer asks for a refund')
ORDER BY r.created DESC
LIMIT 20"""
FILM = "(SELECT * FROM r WHERE id = (SELECT id FROM r GROUP BY id ORDER BY count(*) DESC LIMIT 1))"
LABELS = "['POSITIVE', 'NEGATIVE']"
PAIRS = f"FROM {FILM} AS a JOIN {FILM} AS b ON a.reviewId <> b.reviewId AND"
REVIEWS = {
    "5 positive": "SELECT id FROM r WHERE ai.filter(reviewText, 'positive?') LIMIT 5",
    "5 positive of taken_3": "SELECT id FROM r WHERE id = 'taken_3' "
    "AND ai.filter(reviewText, 'positive?') LIMIT 5",
    "count of taken_3": "SELECT count(*) FROM r WHERE id = 'taken_3' "
    "AND ai.filter(reviewText, 'positive?')",
    "10 matching pairs": f"SELECT a.id {PAIRS} ai.match(a.reviewText, b.reviewText, "
    "'express the same sentiment') LIMIT 10",
    "all equal pairs": f"SELECT count(*) {PAIRS} ai.classify(a.reviewText, {LABELS}) "
    f"= ai.classify(b.reviewText, {LABELS})",
    "10 best": f"SELECT id FROM {FILM} ORDER BY ai.score(reviewText, 'positive?') DESC LIMIT 10",
    "10 best, classified": f"SELECT ai.classify(reviewText, {LABELS}) AS c FROM {FILM} "
    "ORDER BY ai.score(reviewText, 'positive?') DESC LIMIT 10",
}


def milliseconds() -> float:
    """Of rewriting the ten-line query."""
    functions = {d.name: d.arguments for d in definitions() if d.arguments}
    rounds = []
    for _ in range(50):
        started = time.perf_counter()
        plan(TEN_LINES, functions)
        rounds.append(time.perf_counter() - started)
    return statistics.median(rounds) * 1e3


def inputs(query: str, *, rewrite: bool) -> int:
    """Sent by a query over the reviews."""
    with FILE.open(encoding="utf-8") as file:
        label = {row["reviewText"]: row["scoreSentiment"] for row in csv.DictReader(file)}

    def answer(task: sqlllm.Task, text: str) -> Any:
        if text.startswith("Text A: "):
            a, b = text.removeprefix("Text A: ").split("\nText B: ")
            return label[a] == label[b]
        return label[text] == "POSITIVE" if task.yes_no else label[text]

    model = sqlllm.FakeModel(answer)
    with sqlllm.connect(models={"oracle": model}, model="oracle", rewrite=rewrite) as db:
        db.execute("CREATE TABLE r AS FROM read_csv($1)", [str(FILE)])
        db.execute(query).fetchall()
    return len(model.inputs)


def main() -> None:
    """Print the figures."""
    print(f"rewriting a ten-line query: {milliseconds():.1f} ms")
    if not FILE.is_file():
        print("film reviews: not beside this checkout")
        return
    for name, query in REVIEWS.items():
        on, off = inputs(query, rewrite=True), inputs(query, rewrite=False)
        print(f"{name}: {on:,} inputs; DuckDB alone {off:,}")


if __name__ == "__main__":
    main()
