"""Tickets by topic through SQLAlchemy, on an engine whose statements are planned."""

from __future__ import annotations

import tempfile
from pathlib import Path

import sqlalchemy as sa
from duckdb_engine import ConnectionWrapper

import sqlllm

HERE = Path(__file__).parent
LABELS = ["account", "billing", "bug", "delivery", "feature request", "praise"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "tickets.duckdb")
        engine = sa.create_engine(
            "duckdb://", creator=lambda: ConnectionWrapper(sqlllm.connect(database))
        )
        with engine.begin() as con:
            file = str(HERE / "tickets.csv")
            con.execute(sa.text("CREATE TABLE tickets AS FROM read_csv(:file)"), {"file": file})

        tickets = sa.table("tickets", sa.column("body"), sa.column("language"))
        truncate = sa.literal_column("truncate := true")  # options have a name
        topic = sa.func.ai.classify(tickets.c.body, LABELS, truncate).label("topic")
        query = (
            sa.select(topic, sa.func.count().label("n"))
            .where(tickets.c.language == "en")
            .group_by(topic)
            .order_by(sa.desc("n"))
        )
        with engine.connect() as con:
            for name, n in con.execute(query):
                print(f"{name}: {n}")
            usage = 'SELECT "rows", distinct_inputs, sent FROM ai.usage WHERE this_session'
            for rows, distinct, sent in con.execute(sa.text(usage)):
                print(f"{rows} rows, {distinct} distinct, {sent} sent")
        engine.dispose()


if __name__ == "__main__":
    main()
