"""Answers by key, in columns: one SQLite file for all processes, or tables in memory.

A block holds up to 16,384 answers of one lane (a task of a model): their keys, the ends of the
answers and their bytes, as three blobs with a checksum. So a million answers are found and read in
some hundred steps, and a batch that landed is one short transaction. Small blocks are merged as
they come, the larger the later, so that an answer is rewritten a few times only. Where each key is,
is held in memory, for the lanes that were asked for.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from sqlllm.errors import StorageError
from sqlllm.locks import shared_lock
from sqlllm.runtime.answers import BLOCK, Array, packed, picked
from sqlllm.runtime.keyindex import SPAN, KeyIndex
from sqlllm.runtime.keys import KEY, Lane
from sqlllm.storage import Database, warn

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


class Cache(Protocol):
    """Where answers are kept."""

    def find(self, lane: Lane, keys: Array) -> pa.Array:
        """The answers, as a binary column; NULL where there is none."""

    def keep(self, lane: Lane, keys: Array, answers: pa.Array) -> None:
        """Keep answers: a binary column without NULL."""


class NoCache:
    """Keeps nothing."""

    def find(self, lane: Lane, keys: Array) -> pa.Array:
        """NULL for each."""
        return pa.nulls(len(keys), pa.binary())

    def keep(self, lane: Lane, keys: Array, answers: pa.Array) -> None:
        """Nothing."""


@dataclass(slots=True)
class _Known:
    """What is known of a lane of the file."""

    key: bytes
    seen: int = 0  # the last block that was looked at
    kept: int = 0  # times that this process kept something
    index: KeyIndex = field(default_factory=KeyIndex)


class _Gone(Exception):
    """A block was merged or dropped, by another process or because it is damaged."""


class BlockCache:
    """Answers in a database.

    Args:
        database: The file, or the tables in memory.
        max_bytes: Of all answers and keys; beyond, the blocks are dropped that were used longest
            ago.

    Example:
        >>> from sqlllm import FakeModel, Task
        >>> from sqlllm.runtime.keys import keys_of
        >>> answers = BlockCache(Database(None, SCHEMA), max_bytes=1000)
        >>> lane = Lane(FakeModel(str), Task("complete"))
        >>> answers.keep(lane, keys_of(pa.array(["a"])), pa.array([b"A"]))
        >>> answers.find(lane, keys_of(pa.array(["a", "b"]))).to_pylist()
        [b'A', None]
    """

    FULL = 1 << 19  # bytes of a block that is merged no more, unless it has BLOCK answers before
    HELD = 1 << 27  # bytes of blocks that stay decoded
    USED = 600.0  # seconds: how precisely it is known when a block was used
    TIDY = 32  # times something is kept between one tidying up and the next

    def __init__(self, database: Database, max_bytes: int) -> None:
        self.database = database
        self.max_bytes = max_bytes
        self._lanes: dict[bytes, _Known] = {}
        self._decoded: OrderedDict[int, pa.Array] = OrderedDict()
        self._held = 0
        self._marked: dict[int, float] = {}
        self._generation = 0
        self._kept = 0  # times that this process kept something
        self._lock = shared_lock(1)

    def find(self, lane: Lane, keys: Array) -> pa.Array:
        """The answers, as a binary column; NULL where there is none.

        Raises:
            StorageError: The file can't be read.
        """
        with self._lock:
            known = self._known(lane)
            if known is None:
                return pa.nulls(len(keys), pa.binary())
            places = known.index.find(keys)
            if (places < 0).any() and self._refresh(known):
                places = known.index.find(keys)
            blocks, rows = places // SPAN, places % SPAN
            self._mark(np.unique(blocks[blocks >= 0]).tolist())
            try:
                return picked(blocks, rows, self._block)
            except _Gone:
                del self._lanes[lane.digest]
            return self.find(lane, keys)

    def keep(self, lane: Lane, keys: Array, answers: pa.Array) -> None:
        """Keep answers: a binary column without NULL. They are safe once this returns.

        Raises:
            StorageError: The file can't be written.
        """
        with self._lock:
            for at in range(0, len(keys), BLOCK):
                part = keys[at : at + BLOCK], answers[at : at + BLOCK]
                self.database.write(partial(_insert, lane=lane, keys=part[0], answers=part[1]))
            known = self._known(lane)
            if known is not None:
                # at once: a process may keep something once, and each of its questions, too
                if known.kept % self.TIDY == 0:
                    self._merge_small(known)
                if self._kept % self.TIDY == 0:
                    self.database.write(lambda con: evict(con, self.max_bytes))
                known.kept += 1
                self._kept += 1

    def _known(self, lane: Lane) -> _Known | None:
        """The lane as the file has it; None where it has nothing."""
        number = self.database.read(lambda con: _lane_number(con, lane.digest))
        if self._generation != self.database.generation:
            self._forget()
        if number is None:
            return None
        return self._lanes.setdefault(lane.digest, _Known(lane.digest))

    def _forget(self) -> None:
        """The file is another one now."""
        self._generation = self.database.generation
        self._lanes.clear()
        self._decoded.clear()
        self._marked.clear()
        self._held = 0

    def _refresh(self, known: _Known) -> bool:
        """Look at the blocks that came since, also those of other processes; whether any did."""
        return self.database.read(lambda con: _look(con, known))

    def _block(self, block: int) -> pa.Array:
        """The answers of a block."""
        column = self._decoded.get(block)
        if column is not None:
            self._decoded.move_to_end(block)
            return column
        sql = "SELECT checksum, keys, ends, answers FROM contents WHERE block = ?"
        row = self.database.read(lambda con: con.execute(sql, (block,)).fetchone())
        if row is None:
            raise _Gone
        if row[0] != _checksum(*row[1:]):
            warn(f"{self.database.path}: block {block} is damaged and was dropped")
            self.database.write(lambda con: drop(con, [block]))
            raise _Gone
        column = unpacked(row[2], row[3])
        self._hold(block, column)
        return column

    def _hold(self, block: int, column: pa.Array) -> None:
        self._decoded[block] = column
        self._held += column.nbytes
        while self._held > self.HELD and len(self._decoded) > 1:
            _, oldest = self._decoded.popitem(last=False)
            self._held -= oldest.nbytes

    def _mark(self, blocks: list[int]) -> None:
        """Note that blocks were used, now and then."""
        now = time.time()
        stale = [block for block in blocks if now - self._marked.get(block, 0) > self.USED]
        if not stale or self.database.read_only:
            return
        self._marked.update(dict.fromkeys(stale, now))
        sql = "UPDATE blocks SET used = max(used, ?) WHERE block = ?"
        with contextlib.suppress(StorageError):  # told when something is to be kept
            self.database.write(lambda con: con.executemany(sql, [(now, b) for b in stale]))

    def _merge_small(self, known: _Known) -> None:
        """Make large blocks of small ones."""

        def work(con: sqlite3.Connection) -> dict[int, tuple[int, int]]:
            _look(con, known)  # nobody else writes now: what follows is ours
            number = _lane_number(con, known.key)
            return _merge(con, number, self.FULL) if number is not None else {}

        moved = self.database.write(work)
        if moved:
            known.index.move({old * SPAN: new * SPAN + at for old, (new, at) in moved.items()})
            known.seen = max(known.seen, *(new for new, _ in moved.values()))
            for block in moved:
                column = self._decoded.pop(block, None)
                self._held -= column.nbytes if column is not None else 0


def _look(con: sqlite3.Connection, known: _Known) -> bool:
    """Index the blocks that came since; whether there were any."""
    new = con.execute(  # by the lane's key: its number is another lane's once it was cleared
        """SELECT block, contents.keys FROM lanes JOIN blocks USING (lane)
        JOIN contents USING (block) WHERE lanes.key = ? AND block > ? ORDER BY block""",
        (known.key, known.seen),
    ).fetchall()
    for block, keys in new:
        known.index.add(np.frombuffer(keys, KEY), block * SPAN)
        known.seen = block
    return bool(new)


def _insert(con: sqlite3.Connection, lane: Lane, keys: Array, answers: pa.Array) -> None:
    number = _lane_number(con, lane.digest)
    if number is None:
        number = _make_lane(con, lane)
    _put(con, number, (np.ascontiguousarray(keys).tobytes(), *_blobs(answers)))


def _put(con: sqlite3.Connection, lane: int, blobs: tuple[bytes, bytes, bytes]) -> int:
    keys, _, _ = blobs
    now, size = time.time(), sum(map(len, blobs))
    made = con.execute(
        "INSERT INTO blocks (lane, answers, bytes, made, used) VALUES (?, ?, ?, ?, ?)",
        (lane, len(keys) // KEY.itemsize, size, now, now),
    )
    block = int(made.lastrowid or 0)
    con.execute("INSERT INTO contents VALUES (?, ?, ?, ?, ?)", (block, _checksum(*blobs), *blobs))
    return block


def _merge(con: sqlite3.Connection, lane: int, full: int) -> dict[int, tuple[int, int]]:
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
        sql = "SELECT checksum, keys, ends, answers FROM contents WHERE block = ?"
        row = con.execute(sql, (block,)).fetchone()
        if row is None or row[0] != _checksum(*row[1:]):
            return {}  # whoever reads it drops it
        moved[block] = start
        columns.append(unpacked(row[2], row[3]))
        keys.append(row[1])
        start += len(columns[-1])
    drop(con, chosen)
    new = _put(con, lane, (b"".join(keys), *_blobs(pa.concat_arrays(columns))))
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


def drop(con: sqlite3.Connection, blocks: list[int]) -> None:
    """Forget the answers of some blocks."""
    for table in ("blocks", "contents"):
        con.executemany(f"DELETE FROM {table} WHERE block = ?", [(block,) for block in blocks])


def _lane_number(con: sqlite3.Connection, key: bytes) -> int | None:
    row = con.execute("SELECT lane FROM lanes WHERE key = ?", (key,)).fetchone()
    return row[0] if row else None


def _make_lane(con: sqlite3.Connection, lane: Lane) -> int:
    model, task = lane.model, lane.task
    made = con.execute(
        "INSERT INTO lanes (key, model, fingerprint, kind, question, form) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (lane.digest, model.name, model.fingerprint, task.kind, lane.question, lane.form),
    )
    return int(made.lastrowid or 0)


def _checksum(*blobs: bytes) -> int:
    total = 0
    for blob in blobs:
        total = zlib.crc32(blob, total)
    return total


def _blobs(answers: pa.Array) -> tuple[bytes, bytes]:
    """Where each answer ends, and the bytes of all."""
    ends, data = packed(answers)
    return ends[1:].astype("<u4").tobytes(), bytes(data)


def unpacked(ends: bytes, data: bytes) -> pa.Array:
    """A block's answers as a binary column."""
    offsets = np.zeros(len(ends) // 4 + 1, np.int32)
    offsets[1:] = np.frombuffer(ends, "<u4")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
