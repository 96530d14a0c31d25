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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlllm.errors import StorageError, StorageWarning
from sqlllm.locks import shared_lock

Result = TypeVar("Result")

VERSION = 1  # of the tables; a file of another version has another name
PATIENCE = 60.0  # seconds to wait for another process to finish writing
APPLICATION = 0x73716C6D  # "sqlm", which SQLite keeps at byte 68: the file is ours
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

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
                if not _is_damaged(error) or self.path is None or self.read_only:
                    raise self._failed(error) from error
                if not _says_ours(self.path):
                    raise _foreign(self.path) from error
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
            con = _connect(":memory:")
        elif self.read_only:
            con, self._immutable = _connect_to_read(self.path)
        else:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _make(self.path)
            except OSError as error:
                raise self._failed(error) from error
            con = _connect(self.path.absolute().as_uri())
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
            raise _foreign(self.path)
        _patiently(lambda: con.execute("PRAGMA journal_mode = WAL").fetchone())
        # A commit outlives the process; after a power cut the last ones may be missing.
        con.execute("PRAGMA synchronous = NORMAL")
        if _number(con, "user_version") == VERSION:
            if _number(con, "application_id") != APPLICATION:  # as files of before
                con.execute(f"PRAGMA application_id = {APPLICATION}")
            return
        con.execute("BEGIN IMMEDIATE")
        if _number(con, "user_version") == 0:
            for statement in self._schema:
                con.execute(statement)
            con.execute(f"PRAGMA user_version = {VERSION}")
            con.execute(f"PRAGMA application_id = {APPLICATION}")
        con.execute("COMMIT")

    def _is_ours(self, con: sqlite3.Connection) -> bool:
        """Whether it is empty, or has these tables."""
        tables = {name for (name,) in con.execute("SELECT name FROM sqlite_master")}
        names = {found[1] for text in self._schema if (found := TABLE.match(text))}
        return names <= tables if tables else _number(con, "user_version") == 0

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Rename a damaged file, unless another process has just done so."""
        opened = self._opened[:1]
        self.close()
        with _only_process(path):
            found = (path.stat().st_ino,) if path.exists() else ()
            if found and (found == opened or _is_damaged_file(path)):
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


def _make(path: Path) -> None:
    """An empty file for nobody else, where there is none.

    One that is there is not opened: closing it would free the locks of every connection that this
    process has to it, and another process would then remove the log that they write.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path.resolve(), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


class _Connection(sqlite3.Connection):
    """One that closes itself when nobody has it any more: Python 3.13 warns of it otherwise."""

    def __del__(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # it was never opened
            self.close()


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
        uri=True,
    )


def _connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection that writes nothing, and whether it takes the file for immutable.

    WAL needs the log's index, which whoever writes the file has made, or a folder to make it in.
    """
    uri = path.absolute().as_uri()
    con = _connect(f"{uri}?mode=ro")
    try:
        con.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        con.close()
        if os.access(path.parent, os.W_OK):
            raise
        return _connect(f"{uri}?mode=ro&immutable=1"), True
    return con, False


def _patiently(work: Callable[[], object]) -> None:
    """Try again while another process holds the file: SQLite itself doesn't wait here."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            work()
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
        time.sleep(0.01)


def _number(con: sqlite3.Connection, pragma: str) -> int:
    return int(con.execute(f"PRAGMA {pragma}").fetchone()[0])


def _says_ours(path: Path) -> bool:
    """Whether a file that SQLite can't read, or not all of it, says that it is of this package."""
    with path.open("rb") as file:
        return file.read(72)[68:] == APPLICATION.to_bytes(4, "big")


def _foreign(path: Path) -> StorageError:
    return StorageError(
        f"{path} is no file of sqlllm's, and is left as it is",
        hint="name another file in the settings (cache_file, state_file), or move this one away",
    )


def _is_damaged(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(DAMAGED)


def _is_damaged_file(path: Path) -> bool:
    con = _connect(path.absolute().as_uri())
    try:
        return bool(con.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return _is_damaged(error)
    finally:
        con.close()


@contextlib.contextmanager
def _only_process(path: Path) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=PATIENCE):
        yield
