"""SQLite files that threads and processes share: the cache of answers, and the record of runs."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlllm.errors import StorageError, StorageWarning
from sqlllm.locks import shared_lock
from sqlllm.sqlite_file import (
    APPLICATION,
    PATIENCE,
    connect,
    connect_to_read,
    foreign,
    is_damaged,
    is_damaged_file,
    make,
    only_process,
    patiently,
    pragma,
    says_ours,
)

Result = TypeVar("Result")

VERSION = 1  # of the tables; a file of another version has another name

TABLE = re.compile(r"CREATE TABLE (\w+)")

MOST_OPEN = 32  # files; each takes three of the process's descriptors

logging.getLogger("sqlllm").addHandler(logging.NullHandler())  # else Python says all twice

_OPENED: deque[weakref.ref[Database]] = deque()
_OPENING = threading.Lock()


class Database:
    """One SQLite file, in WAL mode, that any number of threads and processes read and write.

    Opened at first use, and closed while others of the process are used and these are many. A
    damaged file is set aside, with a `StorageWarning`, and begun anew. What is no file of this
    package is left as it is, and refused.

    Args:
        path: The file; None keeps the tables in memory.
        schema: The statements that make the tables.
        read_only: Never write, not even to make the file; `write` is an error.

    Attributes:
        generation: Rises whenever the file is opened again: what was read before may no longer
            hold.

    Example:
        >>> numbers = Database(None, ["CREATE TABLE numbers (n INTEGER)"])
        >>> numbers.write(lambda con: con.execute("INSERT INTO numbers VALUES (7)").rowcount)
        1
        >>> numbers.read(lambda con: con.execute("SELECT n FROM numbers").fetchall())
        [(7,)]
    """

    def __init__(
        self, path: Path | None, schema: Sequence[str], *, read_only: bool = False
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.generation = 0
        self._schema = schema
        self._con: sqlite3.Connection | None = None
        self._pid = 0
        self._immutable = False
        self._opened: tuple[int, ...] = ()
        self._lock = shared_lock(2)

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work` returns; it reads only.

        Raises:
            StorageError: The file can't be read.
        """
        return self._run(work, writes=False)

    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work` returns, once all that it wrote is kept; if it raises, nothing is.

        Raises:
            StorageError: The file can't be written.
        """
        return self._run(work, writes=True)

    def close(self) -> None:
        """Free the file; the next use opens it again."""
        with self._lock:
            if self._con is not None and self._pid == os.getpid():  # it must not cross a fork
                self._con.close()
            self._con = None

    def _run(self, work: Callable[[sqlite3.Connection], Result], *, writes: bool) -> Result:
        with self._lock:
            try:
                return self._attempt(work, writes=writes)
            except sqlite3.DatabaseError as error:
                if not is_damaged(error) or self.path is None or self.read_only:
                    raise self._failed(error) from error
                if not says_ours(self.path):
                    raise foreign(self.path) from error
                self._set_aside(self.path, error)
            try:
                return self._attempt(work, writes=writes)
            except sqlite3.DatabaseError as error:
                raise self._failed(error) from error

    def _attempt(self, work: Callable[[sqlite3.Connection], Result], *, writes: bool) -> Result:
        con = self._connection()
        if not writes:
            return work(con)
        con.execute("BEGIN IMMEDIATE")
        try:
            result = work(con)
            con.execute("COMMIT")
        except BaseException:
            if con.in_transaction:
                con.execute("ROLLBACK")
            raise
        return result

    def _connection(self) -> sqlite3.Connection:
        if self._con is not None and self._pid == os.getpid() and self._is_same_file():
            return self._con
        self.close()
        self.generation += self._pid != 0
        self._con = self._open()
        self._pid = os.getpid()
        if self.path is not None:
            self._opened = self._looks(self.path)
            self._close_others()
        return self._con

    def _close_others(self) -> None:
        """Close what was opened long ago, if that is not in use at this moment."""
        with _OPENING:
            _OPENED.append(weakref.ref(self))
            old = [_OPENED.popleft()() for _ in range(len(_OPENED) - MOST_OPEN)]
        for database in old:
            if database is None or database is self:
                continue
            if database._lock.acquire(blocking=False):
                try:
                    database.close()
                finally:
                    database._lock.release()
            else:
                with _OPENING:
                    _OPENED.append(weakref.ref(database))

    def _is_same_file(self) -> bool:
        """Whether the file is still the one that was opened: somebody may have removed it."""
        if self.path is None:
            return True
        try:
            return self._looks(self.path) == self._opened
        except OSError:
            return False

    def _looks(self, path: Path) -> tuple[int, ...]:
        """What another file has otherwise; and an immutable one that was written after all."""
        found = path.stat()
        if not self._immutable:
            return (found.st_ino,)
        return (found.st_ino, found.st_mtime_ns, found.st_size, Path(f"{path}-wal").exists())

    def _open(self) -> sqlite3.Connection:
        if self.path is None:
            con = connect(":memory:")
        elif self.read_only:
            con, self._immutable = connect_to_read(self.path)
        else:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                make(self.path)
            except OSError as error:
                raise self._failed(error) from error
            con = connect(self.path.absolute().as_uri())
        try:
            self._prepare(con)
        except BaseException:
            con.close()
            raise
        return con

    def _prepare(self, con: sqlite3.Connection) -> None:
        if self.read_only:
            con.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return
        if self.path is not None and not self._is_ours(con):
            raise foreign(self.path)
        patiently(lambda: con.execute("PRAGMA journal_mode = WAL").fetchone())
        # A commit outlives the process; after a power cut the last ones may be missing.
        con.execute("PRAGMA synchronous = NORMAL")
        if pragma(con, "user_version") == VERSION:
            if pragma(con, "application_id") != APPLICATION:  # as files of before
                con.execute(f"PRAGMA application_id = {APPLICATION}")
            return
        con.execute("BEGIN IMMEDIATE")
        if pragma(con, "user_version") == 0:
            for statement in self._schema:
                con.execute(statement)
            con.execute(f"PRAGMA user_version = {VERSION}")
            con.execute(f"PRAGMA application_id = {APPLICATION}")
        con.execute("COMMIT")
        con.execute("PRAGMA wal_checkpoint").fetchone()  # `says_ours` reads no log

    def _is_ours(self, con: sqlite3.Connection) -> bool:
        """Whether it is empty, or has these tables."""
        tables = {name for (name,) in con.execute("SELECT name FROM sqlite_master")}
        names = {found[1] for text in self._schema if (found := TABLE.match(text))}
        return names <= tables if tables else pragma(con, "user_version") == 0

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Rename a damaged file, unless another process has just done so."""
        opened = self._opened[:1]
        self.close()
        with only_process(path):
            found = (path.stat().st_ino,) if path.exists() else ()
            if found and (found == opened or is_damaged_file(path)):
                aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
                path.rename(aside)
                for suffix in ("-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        path.with_name(path.name + suffix).rename(f"{aside}{suffix}")
                warn(f"{path} is damaged ({error}): it was set aside as {aside.name}")

    def _failed(self, error: Exception) -> StorageError:
        name = getattr(error, "sqlite_errorname", "")
        where = str(self.path or "the tables in memory")
        if name.startswith("SQLITE_BUSY"):
            return StorageError(
                f"{where} was in use by another process for {PATIENCE:.0f} seconds",
                hint="end the process that holds it, or name another file in the settings",
            )
        if name == "SQLITE_FULL" or getattr(error, "errno", None) == 28:
            return StorageError(
                f"{where} can't be written: the disk is full",
                hint="free some space, since `sqlllm cache prune` needs some itself",
            )
        what = "read" if self.read_only else "written"
        return StorageError(
            f"{where} can't be {what}: {error}",
            hint="see whether the disk has room and the folder can be written, "
            "or name another file in the settings",
        )


def named(found: sqlite3.Cursor) -> list[dict[str, Any]]:
    """The rows of a query, by the names of its columns."""
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def warn(message: str) -> None:
    """Tell the user that something is not kept, or was lost; nothing fails for it."""
    logging.getLogger("sqlllm.storage").warning("%s", message)
    warnings.warn(message, StorageWarning, stacklevel=2)
