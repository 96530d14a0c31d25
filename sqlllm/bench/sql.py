"""Our side of every workload: a table of texts and one statement, as a user writes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from sqlllm.connection import connect
from sqlllm.models.base import Model


class Sql:
    """A connection without a cache, so that every run asks the model.

    Args:
        models: `bench` for language, `embedder` for vectors; either may be missing.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self.db = connect(
            models=models,
            model="bench",
            embed_model="embedder",
            cache="off",
            progress=False,
            on_error="fail",
        )

    def table(self, name: str, texts: Sequence[str]) -> None:
        """A table with the rows' numbers and texts."""
        self.db.register("given", pa.table({"i": range(len(texts)), "x": list(texts)}))
        self.db.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT i, x FROM given")
        self.db.unregister("given")

    def ask(self, expression: str, table: str) -> tuple[float, list[Any], int]:
        """Answer a whole table into another one.

        Returns:
            Seconds, the answers in the order of the rows, and tokens written.
        """
        before = self._written()
        started = time.perf_counter()
        self.db.execute(
            f"CREATE OR REPLACE TABLE answers AS SELECT i, {expression} AS y FROM {table}"
        )
        seconds = time.perf_counter() - started
        answers = [y for (y,) in self.db.execute("SELECT y FROM answers ORDER BY i").fetchall()]
        return seconds, answers, self._written() - before

    def _written(self) -> int:
        rows = self.db.execute(
            "SELECT completion_tokens FROM ai.usage WHERE this_session"
        ).fetchall()
        return sum(written for (written,) in rows)


def quoted(text: str) -> str:
    """A SQL string.

    Example:
        >>> quoted("it's")
        "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"
