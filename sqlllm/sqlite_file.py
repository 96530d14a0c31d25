"""A SQLite file: how it is made and opened, whose it is, and whether it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlllm.errors import StorageError

PATIENCE = 60.0  # seconds to wait for another process to finish writing
APPLICATION = 0x73716C6D  # "sqlm", which SQLite keeps at byte 68: the file is ours
DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def make(path: Path) -> None:
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


def connect(uri: str) -> sqlite3.Connection:
    """A connection for any thread, whose transactions are begun by hand."""
    return sqlite3.connect(
        uri,
        timeout=PATIENCE,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
        uri=True,
    )


def connect_to_read(path: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection that writes nothing, and whether it takes the file for immutable.

    WAL needs the log's index, which whoever writes the file has made, or a folder to make it in.
    """
    uri = path.absolute().as_uri()
    con = connect(f"{uri}?mode=ro")
    try:
        con.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        con.close()
        if os.access(path.parent, os.W_OK):
            raise
        return connect(f"{uri}?mode=ro&immutable=1"), True
    return con, False


def patiently(work: Callable[[], object]) -> None:
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


def pragma(con: sqlite3.Connection, name: str) -> int:
    """A number that the file keeps in its header."""
    return int(con.execute(f"PRAGMA {name}").fetchone()[0])


def says_ours(path: Path) -> bool:
    """Whether a file that SQLite can't read, or not all of it, says that it is of this package."""
    with path.open("rb") as file:
        return file.read(72)[68:] == APPLICATION.to_bytes(4, "big")


def foreign(path: Path) -> StorageError:
    """The error for a file of somebody else's."""
    return StorageError(
        f"{path} is no file of sqlllm's, and is left as it is",
        hint="name another file in the settings (cache_file, state_file), or move this one away",
    )


def is_damaged(error: Exception) -> bool:
    """Whether SQLite says that what it read is no database, or a broken one."""
    return getattr(error, "sqlite_errorname", "").startswith(DAMAGED)


def is_damaged_file(path: Path) -> bool:
    """Whether SQLite finds the file broken."""
    con = connect(path.absolute().as_uri())
    try:
        return bool(con.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        return is_damaged(error)
    finally:
        con.close()


@contextlib.contextmanager
def only_process(path: Path) -> Iterator[None]:
    """While no other process repairs the file."""
    from filelock import FileLock

    with FileLock(f"{path}.lock", timeout=PATIENCE):
        yield
