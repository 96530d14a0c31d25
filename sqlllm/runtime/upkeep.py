"""What is in the cache file, and what to do about it: `FROM ai.cache` and `sqlllm cache`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sqlllm import files
from sqlllm.errors import ConfigError
from sqlllm.runtime.blocks import Content, drop, evict
from sqlllm.runtime.encoding import column_of
from sqlllm.runtime.keys import KEY
from sqlllm.storage import Database, named

LANES = """SELECT model, kind, question, fingerprint, sum(answers) AS answers, sum(bytes) AS bytes,
    min(made) AS made, max(used) AS used FROM lanes JOIN blocks USING (lane)
    GROUP BY lane ORDER BY used"""


def lanes(database: Database) -> list[dict[str, Any]]:
    """Each question that has answers: of which model, how many, and when they were used last."""
    rows = database.read(lambda con: named(con.execute(LANES)))
    for row in rows:
        row["made"], row["used"] = (datetime.fromtimestamp(row[n], UTC) for n in ("made", "used"))
    return rows


def prune(database: Database, *, days: float | None = None, max_bytes: int | None = None) -> int:
    """Drop what was used longest ago, and give the room back to the disk.

    Args:
        database: The cache.
        days: Drop what was not used for so long.
        max_bytes: Drop until no more than this is left.

    Returns:
        How many answers were dropped.
    """

    def work(con: sqlite3.Connection) -> None:
        if days is not None:
            before = time.time() - days * 86400
            old = con.execute("SELECT block FROM blocks WHERE used < ?", (before,))
            drop(con, [block for (block,) in old.fetchall()])
        if max_bytes is not None:
            evict(con, max_bytes, keep=1.0)

    return _dropped(database, work)


def clear(database: Database, model: str | None = None) -> int:
    """Drop all answers, or those of one model; how many."""

    def work(con: sqlite3.Connection) -> None:
        sql = "SELECT block FROM blocks JOIN lanes USING (lane) WHERE ? IN (model, '')"
        drop(con, [block for (block,) in con.execute(sql, (model or "",)).fetchall()])

    return _dropped(database, work)


def _dropped(database: Database, work: Callable[[sqlite3.Connection], None]) -> int:
    """How many answers `work` drops; the room they took goes back to the disk."""

    def whole(con: sqlite3.Connection) -> int:
        before = _count(con)
        work(con)
        con.execute("DELETE FROM lanes WHERE lane NOT IN (SELECT lane FROM blocks)")
        return before - _count(con)

    dropped = database.write(whole)
    database.read(lambda con: con.execute("VACUUM"))  # which SQLite does in no transaction
    database.read(lambda con: con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    return dropped


def export(database: Database, to: Path) -> int:
    """Write all answers to a new file; how many.

    Args:
        database: The cache.
        to: `.sqlite`: a cache file, for the setting `cache_file` elsewhere. `.parquet`: a row per
            answer: model, kind, question, key, and `answer` (text) or `vector` (also the
            probabilities of labels). Texts that were asked about are in neither: keys are hashes.

    Raises:
        ConfigError: The file exists, or has another ending.
    """
    if to.exists():
        msg = f"{to} exists already"
        raise ConfigError(msg, hint="remove it, or name another file")
    if to.suffix not in (".sqlite", ".parquet"):
        msg = f"{to} must end in .sqlite or .parquet"
        raise ConfigError(msg, hint="a .sqlite file is a cache, a .parquet file a table")
    files.check(to, "export")
    with files.whole(to) as part:
        part.touch(0o600)  # nobody else's
        if to.suffix == ".sqlite":
            database.read(lambda con: con.execute("VACUUM INTO ?", (str(part),)))
        else:
            with pq.ParquetWriter(part, ROW) as writer:
                database.read(lambda con: [writer.write_batch(batch) for batch in _batches(con)])
    return database.read(_count)


ROW = pa.schema(
    {
        "model": pa.string(),
        "kind": pa.string(),
        "question": pa.string(),
        "key": pa.binary(KEY.itemsize),
        "answer": pa.string(),
        "vector": pa.list_(pa.float32()),
    }
)


def _batches(con: sqlite3.Connection) -> Iterator[pa.RecordBatch]:
    """The answers, a block at a time."""
    sql = """SELECT model, kind, question, form, checksum, keys, ends, contents.answers
        FROM contents JOIN blocks USING (block) JOIN lanes USING (lane) ORDER BY block"""
    for model, kind, question, form, *blobs in con.execute(sql):
        content = Content(*blobs)
        column = column_of(form, content.column())
        count, is_text = len(column), form == "text"
        yield pa.record_batch(
            [
                *(pa.array([value] * count, pa.string()) for value in (model, kind, question)),
                pa.FixedSizeBinaryArray.from_buffers(
                    ROW.field("key").type, count, [None, pa.py_buffer(content.keys)]
                ),
                column if is_text else pa.nulls(count, pa.string()),
                pa.nulls(count, ROW.field("vector").type) if is_text else column,
            ],
            schema=ROW,
        )


def _count(con: sqlite3.Connection) -> int:
    (count,) = con.execute("SELECT coalesce(sum(answers), 0) FROM blocks").fetchone()
    return int(count)
