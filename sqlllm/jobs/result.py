"""A script's result: the rows of its last statement as a file, by DuckDB's own writers or drawn."""

from __future__ import annotations

import csv
import os
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import duckdb

from sqlllm import files
from sqlllm.errors import CallError, NotDelivered
from sqlllm.html import VISIBLE
from sqlllm.jobs import table
from sqlllm.jobs.job import form_of
from sqlllm.jobs.script import Step, quoted

LINE = re.compile(r"\nLINE (\d+):")

WRITERS = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json",  # one object a line
    "parquet": "FORMAT parquet",
}


class Result:
    """The rows of a script's last statement: a file that takes its place when all is done.

    Args:
        script: The statements.
        to: The file; None: `spare`, if there are rows.
        form: As in `save`; None: as the name of `to` ends, or a table.
        spare: Where else the rows go; None: nowhere.
        screen: What a table there has to fit.
        **others: Files that `to` must not be, by what they are.

    Raises:
        CallError: There are no rows for `to`.
        ConfigError: `to` can't be written, or doesn't tell the format.
    """

    def __init__(
        self,
        script: Sequence[Step],
        to: Path | None,
        form: str | None,
        /,
        *,
        spare: Path | None = None,
        screen: os.terminal_size | None = None,
        **others: str | Path,
    ) -> None:
        last = script[-1] if script and script[-1].has_rows else None
        if to is not None:
            if last is None:
                msg = "the last statement returns no rows to write"
                raise CallError(msg, hint="end with a SELECT, or leave out `to`")
            files.check(to, "result", **others)
        self._last = last
        self._form = form or form_of(to)
        self._target = to or (spare if last else None)
        self._screen = screen if to is None else None
        self._part = files.part_of(self._target) if self._target else None

    def run(self, db: Any, step: Step) -> None:
        """Run one of the statements; the rows of the last are kept."""
        if step is self._last and self._part is not None:
            files.begin(self._part)
            save(db, step, self._part, self._form, screen=self._screen)
            return
        db.execute(step.text)
        if db.description is not None:
            while db.fetchmany(10_000):  # DuckDB computes some of it only then
                pass

    def deliver(self) -> None:
        """Put the file at its place.

        Raises:
            NotDelivered: It can't be put there.
        """
        if self._part is None or self._target is None:
            return
        try:
            files.put(self._part, self._target)
        except OSError as error:
            part, self._part = self._part, None  # not to be dropped
            reason = error.strerror or error
            msg = f"all is committed, but the result can't be put at {self._target}: {reason}"
            hint = f"it is in {part}" if part.exists() else "ask for it with another script"
            raise NotDelivered(msg, hint=hint) from error

    def drop(self) -> None:
        """Leave nothing of a result that is not to be delivered."""
        if self._part is not None:
            files.remove(self._part)


def save(
    db: Any,
    step: Step,
    path: Path,
    form: str,
    *,
    screen: os.terminal_size | None = None,
    **limits: Any,
) -> int:
    """Run a statement and write its rows; how many there are.

    Args:
        db: The connection.
        step: The statement.
        path: The file; there is none afterwards if the statement has no rows.
        form: `table`, `markdown`, `csv`, `json` (one object a line) or `parquet`.
        screen: What a table has to fit; None: it is as wide as it takes.
        **limits: `shown` and `rest` of `sqlllm.jobs.table.write`.
    """
    if form in WRITERS:
        return _copy(db, step, path, WRITERS[form])
    raw, null = path.with_name(f"{path.name}.csv"), _null()
    try:
        values = f"FORMAT csv, HEADER, NULLSTR '{null}'"  # as DuckDB has them
        count = _copy(db, step, raw, values)
        with raw.open(encoding="utf-8", newline="") as rows, path.open("w", encoding="utf-8") as to:
            csv.field_size_limit(sys.maxsize)
            # An empty line is the only column's empty string.
            found = ([None if v == null else v for v in row or [""]] for row in csv.reader(rows))
            names = [str(name) for name in next(found)]
            if form == "markdown":
                _markdown(names, found, to)
            else:
                table.write(names, found, to, screen=screen, **limits)
    finally:
        raw.unlink(missing_ok=True)
    return count


@cache
def _null() -> str:
    """What NULL reads in a file of ours, and no row can: drawn once, since a job that begins again
    knows a statement that DuckDB could not bind by its text."""
    return uuid.uuid4().hex


def _copy(db: Any, step: Step, path: Path, how: str) -> int:
    target = "'" + str(path).replace("'", "''") + "'"
    if step.is_query:
        try:
            ((count,),) = db.execute(f"COPY (\n{step.text}\n) TO {target} ({how})").fetchall()
        except duckdb.Error as error:  # the user's text begins on the second line of ours
            message = LINE.sub(lambda line: f"\nLINE {int(line[1]) - 1}:", str(error))
            raise type(error)(message) from None
        return int(count)
    found = db.sql(step.text)  # EXPLAIN, CALL, PIVOT, INSERT ... RETURNING can't stand in COPY
    # As texts, written by this connection: Arrow has no BIT, no JSON and no time with a zone.
    texts = {WRITERS["parquet"]: "*", WRITERS["json"]: _as_json(found.columns)}
    found = found.project(texts.get(how, "CAST(COLUMNS(*) AS VARCHAR)"))
    rows = found.to_arrow_table()
    columns = "COLUMNS(*)::JSON" if how == WRITERS["json"] else "*"
    with duckdb.connect() as other:
        other.register("result", rows)
        other.execute(f"COPY (SELECT {columns} FROM result) TO {target} ({how})")
    return int(rows.num_rows)


def _as_json(names: list[str]) -> str:
    return ", ".join(f"to_json({name}) AS {name}" for name in map(quoted, names))


def _markdown(names: list[str], rows: Iterator[list[str | None]], to: TextIO) -> None:
    def line(values: Iterator[str]) -> None:
        to.write(f"| {' | '.join(values)} |\n")

    line(map(_cell, names))
    line("---" for _ in names)
    for row in rows:
        line(map(_cell, row))


def _cell(value: str | None) -> str:
    if value is None:
        return "NULL"
    escaped = value.translate(VISIBLE).replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("\n", "<br>")
