"""The tables of the cache: blocks of answers, each of one lane (a task of a model)."""

from __future__ import annotations

import sqlite3
import time
import zlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from sqlllm.runtime.answers import BLOCK, Array, packed
from sqlllm.runtime.keys import KEY, Lane

SCHEMA = (
    """CREATE TABLE lanes (
        lane INTEGER PRIMARY KEY, key BLOB UNIQUE, model TEXT, fingerprint TEXT, kind TEXT,
        question TEXT, form TEXT)""",
    # apart from the contents: all of it is read, to know what is there and what was used
    """CREATE TABLE blocks (
        block INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER, answers INTEGER, bytes INTEGER,
        made REAL, used REAL)""",
    "CREATE INDEX blocks_of_lane ON blocks (lane, block)",
    """CREATE TABLE contents (
        block INTEGER PRIMARY KEY, checksum INTEGER, keys BLOB, ends BLOB, answers BLOB)""",
    "CREATE TABLE models (signature TEXT PRIMARY KEY, facts TEXT)",
)


class Content(NamedTuple):
    """What a block holds: keys, where each answer ends, and the bytes of all answers."""

    checksum: int
    keys: bytes
    ends: bytes
    answers: bytes

    @classmethod
    def of(cls, keys: bytes, answers: pa.Array) -> Content:
        """These answers, a binary column without NULL, under these keys."""
        ends, data = packed(answers)
        blobs = keys, ends[1:].astype("<u4").tobytes(), bytes(data)
        return cls(_checksum(*blobs), *blobs)

    @property
    def is_damaged(self) -> bool:
        """Whether it is not what was written."""
        return self.checksum != _checksum(self.keys, self.ends, self.answers)

    def column(self) -> pa.Array:
        """The answers as a binary column."""
        offsets = np.zeros(len(self.ends) // 4 + 1, np.int32)
        offsets[1:] = np.frombuffer(self.ends, "<u4")
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.answers)]
        return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)


def _checksum(*blobs: bytes) -> int:
    total = 0
    for blob in blobs:
        total = zlib.crc32(blob, total)
    return total


def lane_number(con: sqlite3.Connection, key: bytes) -> int | None:
    """The number of a lane; None where it has nothing."""
    row = con.execute("SELECT lane FROM lanes WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def read(con: sqlite3.Connection, block: int) -> Content | None:
    """What a block holds; None if it is gone."""
    sql = "SELECT checksum, keys, ends, answers FROM contents WHERE block = ?"
    row = con.execute(sql, (block,)).fetchone()
    return Content(*row) if row else None


def insert(con: sqlite3.Connection, lane: Lane, keys: Array, answers: pa.Array) -> None:
    """Make a block of answers: a binary column without NULL."""
    number = lane_number(con, lane.digest)
    if number is None:
        number = _make_lane(con, lane)
    _put(con, number, Content.of(np.ascontiguousarray(keys).tobytes(), answers))


def _make_lane(con: sqlite3.Connection, lane: Lane) -> int:
    model, task = lane.model, lane.task
    made = con.execute(
        "INSERT INTO lanes (key, model, fingerprint, kind, question, form) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (lane.digest, model.name, model.fingerprint, task.kind, lane.question, lane.form),
    )
    return int(made.lastrowid or 0)


def _put(con: sqlite3.Connection, lane: int, content: Content) -> int:
    count, size = len(content.keys) // KEY.itemsize, sum(map(len, content[1:]))
    now = time.time()
    made = con.execute(
        "INSERT INTO blocks (lane, answers, bytes, made, used) VALUES (?, ?, ?, ?, ?)",
        (lane, count, size, now, now),
    )
    block = int(made.lastrowid or 0)
    con.execute("INSERT INTO contents VALUES (?, ?, ?, ?, ?)", (block, *content))
    return block


def merge(con: sqlite3.Connection, lane: int, full: int) -> dict[int, tuple[int, int]]:
    """Make one block of the newest ones of a lane, as long as an older one has no more answers.

    Returns:
        Each block that is gone -> the new one, and the row where it begins there.
    """
    newest = con.execute(
        "SELECT block, answers, bytes FROM blocks WHERE lane = ? ORDER BY block DESC", (lane,)
    )
    chosen: list[int] = []
    answers = size = 0
    for block, count, length in newest:
        together = answers + count <= BLOCK and size + length <= full
        if not together or (len(chosen) > 1 and count > 2 * answers):
            break
        chosen.append(block)
        answers, size = answers + count, size + length
    newest.close()
    if len(chosen) < 2:
        return {}
    moved, columns, keys, start = {}, [], [], 0
    for block in reversed(chosen):
        content = read(con, block)
        if content is None or content.is_damaged:
            return {}  # whoever reads it drops it
        moved[block] = start
        columns.append(content.column())
        keys.append(content.keys)
        start += len(columns[-1])
    drop(con, chosen)
    new = _put(con, lane, Content.of(b"".join(keys), pa.concat_arrays(columns)))
    return {block: (new, at) for block, at in moved.items()}


def evict(con: sqlite3.Connection, max_bytes: int, *, keep: float = 0.9) -> None:
    """Where there is more than `max_bytes`, drop the blocks used longest ago, down to a share."""
    (held,) = con.execute("SELECT coalesce(sum(bytes), 0) FROM blocks").fetchone()
    if held <= max_bytes:
        return
    oldest = con.execute("SELECT block, bytes FROM blocks ORDER BY used, block").fetchall()
    gone = []
    for block, size in oldest:
        if held <= keep * max_bytes:
            break
        gone.append(block)
        held -= size
    drop(con, gone)
    con.execute("DELETE FROM lanes WHERE lane NOT IN (SELECT lane FROM blocks)")


def drop(con: sqlite3.Connection, blocks: list[int]) -> None:
    """Forget the answers of some blocks."""
    for table in ("blocks", "contents"):
        con.executemany(f"DELETE FROM {table} WHERE block = ?", [(block,) for block in blocks])
