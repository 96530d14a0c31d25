"""The same tables with and without rewriting, and one model that counts."""

from __future__ import annotations

import uuid
from functools import cached_property
from typing import Any

import sqlllm
from sqlllm.rewrite import RULES, TEXTUAL
from sqlllm.runtime.history import Ran

TABLES = """
CREATE TABLE t AS SELECT * FROM (VALUES
    (1, 0, 'bad bug'), (2, 1, 'bad'), (3, 1, 'good bug'), (4, 2, NULL), (5, 2, 'good bug'),
    (6, NULL, 'good')) v(id, k, x);
CREATE TABLE u AS SELECT * FROM (VALUES (1, 'good'), (1, 'bad'), (2, 'x'), (7, 'q')) v(k, y);
CREATE TABLE e AS SELECT * FROM (VALUES (1, [1.0, 0, 0]), (2, NULL), (3, [0, 0, 1])) v(k, v);
"""


def answer(task: sqlllm.Task, text: str) -> Any:
    if task.kind == "complete":
        return text.upper()
    if task.kind == "embed":
        return [float(len(text)) + 1, 1.0, float(sum(map(ord, text)) % 7)]
    if task.yes_no:
        return ("bug" if "bug" in task.instruction else "good") in text
    return next((label for label in task.labels if label in text), task.labels[0])


class Both:
    """The same tables with and without rewriting, and one model that counts."""

    def __init__(self, tables: str) -> None:
        self.fake = sqlllm.FakeModel(answer)
        self._tables = tables
        self.on, self.off = self._made(), self._made(rewrite=TEXTUAL)

    @cached_property
    def alone(self) -> dict[str, sqlllm.Connection]:
        """With each rule and no other."""
        return {rule: self._made(rewrite=[rule]) for rule in RULES}

    def _made(self, **options: Any) -> sqlllm.Connection:
        db = sqlllm.connect(models={"fake": self.fake}, model="fake", **options)
        db.execute(self._tables)
        return db

    def run(self, db: sqlllm.Connection, query: str) -> tuple[list[Any], list[str], int]:
        """Rows, column names, and how many inputs were sent."""
        self.fake.fingerprint = uuid.uuid4().hex  # nothing is cached
        self.fake.inputs.clear()
        db.execute(query)
        names = [column[0] for column in db.description]
        return db.fetchall(), names, len(self.fake.inputs)

    def planned(self, query: str) -> tuple[list[Any], list[str], int, Ran]:
        """The same with rewriting, and what was made of the query."""
        rows, names, sent = self.run(self.on, query)
        ran = self.on.history.now(self.on._id)
        assert ran is not None
        return rows, names, sent, ran
