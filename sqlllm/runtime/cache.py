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
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from sqlllm.errors import StorageError
from sqlllm.locks import shared_lock
from sqlllm.runtime import blocks
from sqlllm.runtime.answers import BLOCK, Array, picked
from sqlllm.runtime.keyindex import SPAN, KeyIndex
from sqlllm.runtime.keys import KEY, Lane
from sqlllm.storage import Database, warn


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
        >>> from sqlllm.runtime.blocks import SCHEMA
        >>> from sqlllm.runtime.keys import keys_of
        >>> answers = BlockCache(Database(None, SCHEMA), max_bytes=1000)
        >>> lane = Lane(FakeModel(str), Task("complete"))
        >>> answers.keep(lane, keys_of(pa.array(["a"])), pa.array([b"A"]))
        >>> answers.find(lane, keys_of(pa.array(["a", "b"]))).to_pylist()
        [b'A', None]
    """

    FULL = 1 << 19  # bytes of a block that is merged no more, unless it has BLOCK answers before
    HELD = 1 << 27  # bytes of blocks that stay decoded
    LANES = 1 << 10  # whose keys stay in memory; of others they are read again
    MARKS = 1 << 16  # blocks of which it is known when they were used
    USED = 600.0  # seconds: how precisely it is known when a block was used
    TIDY = 32  # times something is kept between one tidying up and the next

    def __init__(self, database: Database, max_bytes: int) -> None:
        self.database = database
        self.max_bytes = max_bytes
        self._lanes: OrderedDict[bytes, _Known] = OrderedDict()
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
            # the blocks that came since, also those of other processes
            if bool((places < 0).any()) and self.database.read(lambda con: _look(con, known)):
                places = known.index.find(keys)
            which, rows = places // SPAN, places % SPAN
            self._mark(np.unique(which[which >= 0]).tolist())
            try:
                return picked(which, rows, self._block)
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
                part = slice(at, at + BLOCK)
                self.database.write(
                    partial(blocks.insert, lane=lane, keys=keys[part], answers=answers[part])
                )
            known = self._known(lane)
            if known is not None:
                # at once: a process may keep something once, and each of its questions, too
                if known.kept % self.TIDY == 0:
                    self._merge_small(known)
                if self._kept % self.TIDY == 0:
                    self.database.write(lambda con: blocks.evict(con, self.max_bytes))
                known.kept += 1
                self._kept += 1

    def _known(self, lane: Lane) -> _Known | None:
        """The lane as the file has it; None where it has nothing."""
        number = self.database.read(lambda con: blocks.lane_number(con, lane.digest))
        if self._generation != self.database.generation:
            self._forget()
        if number is None:
            return None
        known = self._lanes.setdefault(lane.digest, _Known(lane.digest))
        self._lanes.move_to_end(lane.digest)
        if len(self._lanes) > self.LANES:
            self._lanes.popitem(last=False)
        return known

    def _forget(self) -> None:
        """The file is another one now."""
        self._generation = self.database.generation
        self._lanes.clear()
        self._decoded.clear()
        self._marked.clear()
        self._held = 0

    def _block(self, block: int) -> pa.Array:
        """The answers of a block."""
        column = self._decoded.get(block)
        if column is not None:
            self._decoded.move_to_end(block)
            return column
        content = self.database.read(lambda con: blocks.read(con, block))
        if content is None:
            raise _Gone
        if content.is_damaged and not self.database.read_only:
            warn(f"{self.database.path}: block {block} is damaged and was dropped")
            self.database.write(lambda con: blocks.drop(con, [block]))
            raise _Gone
        if content.is_damaged:
            warn(f"{self.database.path}: block {block} is damaged, and is not read")
            column = pa.nulls(len(content.keys) // KEY.itemsize, pa.binary())
        else:
            column = content.column()
        self._hold(block, column)
        return column

    def _hold(self, block: int, column: pa.Array) -> None:
        self._decoded[block] = column
        self._held += _size(column)
        while self._held > self.HELD and len(self._decoded) > 1:
            _, oldest = self._decoded.popitem(last=False)
            self._held -= _size(oldest)

    def _mark(self, used: list[int]) -> None:
        """Note that blocks were used, now and then."""
        now = time.time()
        stale = [block for block in used if now - self._marked.get(block, 0) > self.USED]
        if not stale or self.database.read_only:
            return
        if len(self._marked) > self.MARKS:
            self._marked.clear()
        self._marked.update(dict.fromkeys(stale, now))
        sql = "UPDATE blocks SET used = max(used, ?) WHERE block = ?"
        with contextlib.suppress(StorageError):  # told when something is to be kept
            self.database.write(lambda con: con.executemany(sql, [(now, b) for b in stale]))

    def _merge_small(self, known: _Known) -> None:
        """Make large blocks of small ones."""

        def work(con: sqlite3.Connection) -> dict[int, tuple[int, int]]:
            _look(con, known)  # nobody else writes now: what follows is ours
            number = blocks.lane_number(con, known.key)
            return blocks.merge(con, number, self.FULL) if number is not None else {}

        moved = self.database.write(work)
        if moved:
            known.index.move({old * SPAN: new * SPAN + at for old, (new, at) in moved.items()})
            known.seen = max(known.seen, *(new for new, _ in moved.values()))
            for block in moved:
                column = self._decoded.pop(block, None)
                self._held -= _size(column) if column is not None else 0


def _size(column: pa.Array) -> int:
    """Bytes that a block takes, with its objects: many hold a single answer."""
    return int(column.nbytes) + 1024


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
