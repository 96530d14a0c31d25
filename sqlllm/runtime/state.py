"""The state file: what was asked and what failed, and the runs of jobs, of all processes."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sqlllm.settings import Settings, state_path
from sqlllm.storage import Database

SCHEMA = (
    # One row per session, query, function and model. Times are seconds since 1970.
    """CREATE TABLE usage (
        session TEXT, query_id INTEGER, function TEXT, model TEXT, run TEXT, started REAL,
        rows INTEGER, distinct_inputs INTEGER, cached INTEGER, sent INTEGER, batches INTEGER,
        prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL, errors INTEGER, cost REAL,
        PRIMARY KEY (session, query_id, function, model)) WITHOUT ROWID""",
    "CREATE INDEX usage_started ON usage (started)",
    """CREATE TABLE errors (
        at REAL, session TEXT, run TEXT, query_id INTEGER, function TEXT, model TEXT, input TEXT,
        message TEXT)""",
    # What was asked of models on each local day, which budgets per day read and write.
    """CREATE TABLE spent (
        day TEXT PRIMARY KEY, calls INTEGER, tokens INTEGER, seconds REAL, cost REAL
        ) WITHOUT ROWID""",
    # state: running, committing, done, failed, budget, interrupted, killed
    """CREATE TABLE runs (
        run TEXT PRIMARY KEY, job TEXT, script TEXT, "database" TEXT, pid INTEGER, started REAL,
        ended REAL, state TEXT, statement INTEGER, statements INTEGER, message TEXT, versions TEXT,
        models TEXT) WITHOUT ROWID""",
)


def state(settings: Settings) -> Database:
    """The state file of these settings; tables in memory where nothing is to be recorded."""
    return _shared(state_path(settings)) if settings.record else Database(None, SCHEMA)


@cache
def _shared(path: Path) -> Database:
    return Database(path, SCHEMA)
