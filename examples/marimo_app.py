"""Topics of tickets in marimo: `marimo edit examples/marimo_app.py`."""

from __future__ import annotations

import marimo

app = marimo.App()


@app.cell
def setup():
    import marimo as mo
    import polars as pl

    import sqlllm

    file = mo.notebook_location() / "tickets.csv"
    tickets = pl.read_csv(file).filter(pl.col("language") == "en").head(24)
    db = sqlllm.connect()
    query = (
        "SELECT id, ai.classify(body, ['billing', 'bug', 'delivery'], truncate := true) AS topic "
        "FROM tickets"
    )
    return db, pl, query, tickets


@app.cell
def plan(db, query, tickets):
    db.explain(query)
    return


@app.cell
def topics(db, query, tickets):
    topics = db.sql(query).pl()
    topics
    return (topics,)


@app.cell
def counts(pl, topics):
    topics.group_by("topic").agg(pl.len()).sort("topic")
    return


@app.cell
def usage(db, topics):
    db.sql("SELECT function, model, rows, sent FROM ai.usage WHERE this_session")
    return


if __name__ == "__main__":
    app.run()
