"""Which cache keeps a model's answers, by the settings."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import StorageError
from sqlllm.models.base import Model
from sqlllm.models.known import Facts
from sqlllm.runtime.answers import Array
from sqlllm.runtime.blocks import SCHEMA
from sqlllm.runtime.cache import BlockCache, Cache, NoCache
from sqlllm.runtime.keys import Lane
from sqlllm.settings import Settings, cache_path
from sqlllm.storage import Database, warn

IN_MEMORY = 256 << 20  # bytes, at most


class FileCache:
    """The cache file, and beside it the memory, for what the file can't or mustn't keep.

    Args:
        file: The answers in the file.
        spare: Those in memory.
        writes: Whether the file may be written.
    """

    PAUSE = 60.0  # seconds without a new attempt to write a file that couldn't be written

    def __init__(self, file: BlockCache, spare: BlockCache, *, writes: bool) -> None:
        self.file = file
        self._spare = spare
        self._writes = writes
        self._paused_until = 0.0
        self._spared = False
        self._warned = False

    def find(self, lane: Lane, keys: Array) -> pa.Array:
        """The answers, as a binary column; NULL where there is none."""
        nothing = pa.nulls(len(keys), pa.binary())
        beside = self._spare.find(lane, keys) if self._spared else nothing
        path = self.file.database.path
        if not beside.null_count or (path and not self._writes and not path.exists()):
            return beside
        try:
            found = self.file.find(lane, keys)
        except StorageError as error:
            self._tell(error)
            return beside
        return found if beside.null_count == len(beside) else pc.coalesce(found, beside)

    def keep(self, lane: Lane, keys: Array, answers: pa.Array) -> None:
        """Keep answers: a binary column without NULL."""
        if self._writes and time.monotonic() >= self._paused_until:
            try:
                self.file.keep(lane, keys, answers)
            except StorageError as error:
                self._paused_until = time.monotonic() + self.PAUSE
                self._tell(error)
            else:
                self._warned = False  # the next time is told, too
                return
        self._spared = True
        self._spare.keep(lane, keys, answers)

    def _tell(self, error: StorageError) -> None:
        if not self._warned:
            self._warned = True
            warn(f"{error}\nUntil then, answers are kept in this process only.")


def cache_for(model: Model, settings: Settings) -> Cache:
    """Where the answers of a model are kept; processes share the file, installations the memory."""
    if settings.cache == "off":
        return NoCache()
    if settings.cache == "memory" or not model.durable:
        return memory_cache(settings)
    return file_cache(settings)


class FileMemo:
    """What is known of models, in the cache file. Without it, models are loaded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, signature: str) -> Facts | None:
        """What was kept last."""
        path = self._database.path
        if path is None or not path.exists():
            return None
        sql = "SELECT facts FROM models WHERE signature = ?"
        with contextlib.suppress(StorageError, TypeError, ValueError):
            row = self._database.read(lambda con: con.execute(sql, (signature,)).fetchone())
            return Facts(**json.loads(row[0])) if row else None
        return None

    def put(self, signature: str, facts: Facts) -> None:
        """Keep them."""
        if self._database.read_only:
            return
        row = signature, json.dumps(asdict(facts))
        with contextlib.suppress(StorageError):  # told when answers are to be kept
            self._database.write(
                lambda con: con.execute("INSERT OR REPLACE INTO models VALUES (?, ?)", row)
            )


def memo(settings: Settings) -> FileMemo | None:
    """Where facts about models are kept; None where the settings allow no file."""
    if settings.cache in ("off", "memory"):
        return None
    return FileMemo(file_cache(settings).file.database)


def memory_cache(settings: Settings) -> BlockCache:
    """The answers that this process keeps in memory, in that much room."""
    return _memory(min(settings.cache_bytes, IN_MEMORY))


def file_cache(settings: Settings) -> FileCache:
    """The cache file of these settings."""
    return _file(cache_path(settings), settings.cache_bytes, settings.cache == "on")


@cache
def _file(path: Path, max_bytes: int, writes: bool) -> FileCache:
    file = BlockCache(Database(path, SCHEMA, read_only=not writes), max_bytes)
    return FileCache(file, _memory(min(max_bytes, IN_MEMORY)), writes=writes)


@cache
def _memory(max_bytes: int) -> BlockCache:
    return BlockCache(Database(None, SCHEMA), max_bytes)
