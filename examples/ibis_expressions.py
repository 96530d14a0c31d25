"""Tickets by topic through Ibis, on a connection whose statements are planned."""

from __future__ import annotations

from pathlib import Path

import ibis

import sqlllm

HERE = Path(__file__).parent
LABELS = ["account", "billing", "bug", "delivery", "feature request", "praise"]


@ibis.udf.scalar.builtin(database="ai")
def classify(text: str, labels: list[str]) -> str:
    """As `ai.classify`: Ibis writes the call, DuckDB knows the function."""


@ibis.udf.scalar.builtin
def likeness(text: str) -> float:
    """The macro of that name, below: a macro holds options, which SQL takes by name only."""


def main() -> None:
    db = sqlllm.connect()
    db.execute("CREATE TABLE tickets AS FROM read_csv($1)", [str(HERE / "tickets.csv")])
    db.execute("""
        CREATE MACRO likeness(text) AS ai.similarity(text, 'my lamp flickers', truncate := true)
    """)
    con = ibis.duckdb.from_connection(db)
    tickets = con.table("tickets")
    short = tickets.filter(tickets.language == "en", tickets.body.length() < 300)

    topics = short.mutate(topic=classify(short.body, LABELS))
    counted = topics.group_by("topic").agg(n=ibis._.count()).order_by(ibis.desc("n"))
    print(counted.to_pandas())
    nearest = topics.mutate(score=likeness(topics.body)).order_by(ibis.desc("score")).limit(3)
    print(nearest.select("topic", "body").to_pandas())
    db.close()


if __name__ == "__main__":
    main()
