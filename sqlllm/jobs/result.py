"""A statement's rows as a file: CSV, JSON and Parquet by DuckDB's own writers, and tables."""

from __future__ import annotations

import csv
import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import duckdb

from sqlllm.html import VISIBLE
from sqlllm.jobs import table
from sqlllm.jobs.script import Step

LINE = re.compile(r"\nLINE (\d+):")

WRITERS = {
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json",  # one object a line
    "parquet": "FORMAT parquet",
}


def save(
    db: Any,
    step: Step,
    path: Path,
    form: str,
    *,
    screen: os.terminal_size | None = None,
    null: str = "",
    **limits: Any,
) -> int:
    """Run a statement and write its rows; how many there are.

    Args:
        db: The connection.
        step: The statement.
        path: The file; there is none afterwards if the statement has no rows.
        form: `table`, `markdown`, `csv`, `json` (one object a line) or `parquet`.
        screen: What a table has to fit; None: it is as wide as it takes.
        null: What no value is; "" draws it. The same again is the same statement again.
        **limits: `shown` and `rest` of `sqlllm.jobs.table.write`.
    """
    if form in WRITERS:
        return _copy(db, step, path, WRITERS[form])
    raw, null = path.with_name(f"{path.name}.csv"), null or uuid.uuid4().hex
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
    rows = found.to_arrow_table() if hasattr(found, "to_arrow_table") else found.arrow()
    columns = "COLUMNS(*)::JSON" if how == WRITERS["json"] else "*"
    with duckdb.connect() as other:
        other.register("result", rows)
        other.execute(f"COPY (SELECT {columns} FROM result) TO {target} ({how})")
    return int(rows.num_rows)


def _as_json(names: list[str]) -> str:
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    return ", ".join(f"to_json({name}) AS {name}" for name in quoted)


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
