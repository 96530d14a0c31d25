"""From a CSV file to a Parquet file with Polars, a topic per ticket; then SQL over the frame."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from sqlllm import polars as ai

HERE = Path(__file__).parent
LABELS = ["account", "billing", "bug", "delivery", "feature request", "praise"]


def main() -> None:
    topic = pl.col("body").ai.classify(LABELS, truncate=True)
    tickets = (
        pl.scan_csv(HERE / "tickets.csv")
        .filter(pl.col("body").is_not_null())  # before the call: it is asked about what is left
        .with_columns(predicted=topic)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answered.parquet"
        tickets.sink_parquet(path)
        answered = pl.read_parquet(path)
    print(answered.schema["predicted"])

    right = (pl.col("topic") == pl.col("predicted").cast(pl.String)).mean()
    print(answered.group_by("predicted").agg(pl.len(), right=right).sort("len", descending=True))

    # The same question again, in SQL: nothing is sent.
    like_this = answered.ai.sql(f"""
        SELECT id, left(body, 60) AS body, ai.similarity(body, 'my lamp flickers',
            truncate := true) AS score
        FROM self WHERE ai.classify(body, {LABELS}, truncate := true) = 'bug'
        ORDER BY score DESC LIMIT 3
    """)
    print(like_this)
    usage = ai.connection().execute(
        'SELECT "function", "rows", distinct_inputs, sent FROM ai.usage WHERE this_session'
    )
    for function, rows, distinct, sent in usage.fetchall():
        print(f"{function}: {rows} rows, {distinct} distinct, {sent} sent")


if __name__ == "__main__":
    main()
