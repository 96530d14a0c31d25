"""Jobs of one test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

import sqlllm
from sqlllm.runtime.runs import Runs
from sqlllm.settings import Settings


class Jobs:
    """Jobs of one test, in a folder of their own, on the model `fake`."""

    def __init__(self, folder: Path, fake: sqlllm.FakeModel) -> None:
        self.folder = folder
        self.fake = fake
        self.database = folder / "w.duckdb"
        self.events: list[Mapping[str, Any]] = []

    def write(self, text: str, name: str = "job.sql") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, text: str, **options: Any) -> sqlllm.RunResult:
        options.setdefault("database", str(self.database))
        self.events.clear()
        return sqlllm.run(
            self.write(text),
            models={"fake": self.fake},
            model="fake",
            on_event=self.events.append,
            **options,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.database)) as con:
            return con.execute(query).fetchall()

    def tables(self) -> list[str]:
        return [name for (name,) in self.rows("SELECT table_name FROM duckdb_tables()")]

    def notes(self) -> list[str]:
        return [event["message"] for event in self.events if event["event"] == "note"]


def runs() -> list[dict[str, Any]]:
    return Runs(Settings.load()).rows()
