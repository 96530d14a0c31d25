"""The files that answers and records are kept in. They are looked at, never changed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.filesize import decimal

from sqlllm.doctor.finding import Finding, Status, failed
from sqlllm.errors import StorageError
from sqlllm.places import home
from sqlllm.runtime.audit import Audit
from sqlllm.runtime.blocks import SCHEMA
from sqlllm.settings import Settings, cache_path, state_path
from sqlllm.storage import Database

PATIENCE = 5.0  # seconds for a look at a whole file

LITTLE = 1 << 30  # bytes of disk


def files(settings: Settings) -> Iterator[Finding]:
    """Cache, state file, audit log, disk."""
    if settings.cache in ("off", "memory"):
        yield Finding("files", "cache", "ok", f"cache = {settings.cache!r}: no file")
    else:
        path, writes = cache_path(settings), settings.cache == "on"
        yield _file("cache", "cache_file", path, _answers, writes=writes)
        if writes:
            yield _room(path, settings.cache_bytes)
    if settings.record:
        yield _file("state", "state_file", state_path(settings), _records, writes=True)
    else:
        yield Finding("files", "state", "ok", "record = false: no file")
    if settings.audit_log:
        yield _audit(settings)
    yield Finding("files", "models and downloads", "ok", str(home()))


def _answers(con: sqlite3.Connection) -> str:
    (count,) = con.execute("SELECT coalesce(sum(answers), 0) FROM blocks").fetchone()
    return f"{count:,} answers"


def _records(con: sqlite3.Connection) -> str:
    (asked,) = con.execute("SELECT count(*) FROM usage").fetchone()
    (runs,) = con.execute("SELECT count(*) FROM runs").fetchone()
    return f"{asked:,} rows of usage, {runs:,} runs"


def _file(
    name: str, setting: str, path: Path, count: Callable[[sqlite3.Connection], str], *, writes: bool
) -> Finding:
    elsewhere = f"make it writable, or name another {setting} in sqlllm.toml"
    if not path.exists():
        reason = _why_not_writable(path) if writes else None
        if reason:
            return Finding("files", name, "problem", f"{path} can't be made: {reason}", elsewhere)
        return Finding("files", name, "ok", f"{path}: not there yet", values={"path": str(path)})
    taken = path.stat().st_size if path.is_file() else 0
    values = {"path": str(path), "bytes": taken}
    try:
        counted, whole = Database(path, SCHEMA, read_only=True).read(
            lambda con: (count(con), _quick_check(con))
        )
    except (StorageError, OSError) as error:
        return _unreadable(name, path, error)
    if whole not in ("ok", "unfinished"):
        return _unreadable(name, path, StorageError(f"{path} is damaged: {whole}"))
    text = f"{path}: {counted}, {decimal(taken)}"
    text += "" if whole == "ok" else f"; no fault found in {PATIENCE:.0f} s"
    reason = _why_not_writable(path) if writes else None
    if reason:
        text = f"{path} can't be written: {reason}"
        return Finding("files", name, "problem", text, elsewhere, values)
    return Finding("files", name, "ok", text, values=values)


def _unreadable(name: str, path: Path, error: BaseException) -> Finding:
    found = failed("files", name, error).found
    damaged = "malformed" in found or "not a database" in found or "damaged" in found
    fix = f"put back a copy, or: mv {path} {path}.damaged  (it is then made anew)"
    fix = fix if damaged else f"see who may read {path}: ls -l {path}"
    return Finding("files", name, "problem", found, fix)


def _quick_check(con: sqlite3.Connection) -> str:
    """`ok`, the first fault, or `unfinished`."""
    end = time.monotonic() + PATIENCE
    con.set_progress_handler(lambda: int(time.monotonic() > end), 100_000)
    try:
        (found,) = con.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return "unfinished"
        raise
    return str(found)


def _why_not_writable(path: Path) -> str | None:
    """Why a file can't be written, or made; None where it can."""
    if path.exists() and not os.access(path, os.W_OK):
        return "no right to write it"
    folder = _parent(path)
    try:
        with tempfile.TemporaryFile(dir=folder):  # a right on paper is none on a full disk
            pass
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def _parent(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(p for p in path.absolute().parents if p.exists())


def _room(path: Path, limit: int) -> Finding:
    """Whether the disk has room for the cache to grow."""
    free = shutil.disk_usage(_parent(path)).free
    used = path.stat().st_size if path.is_file() else 0
    values = {"free_bytes": free, "cache_bytes": limit}
    text = f"{decimal(free)} free where the cache is, which may grow to {decimal(limit)}"
    status: Status = "ok" if free >= max(limit - used, 0) and free >= LITTLE else "warning"
    fix = f"free some, or set cache_bytes = {(used + free) // 2} in sqlllm.toml"
    return Finding("files", "disk", status, text, fix if status == "warning" else None, values)


def _audit(settings: Settings) -> Finding:
    audit = Audit.of(settings)
    path = audit.path
    reason = _why_not_writable(path) if path is not None else None
    reason = "it is no audit log" if audit.is_foreign else reason
    if reason:
        text = f"{path} can't be written ({reason}): no model will be asked"
        fix = "make it writable, or name another audit_log in sqlllm.toml"
        return Finding("files", "audit log", "problem", text, fix)
    return Finding("files", "audit log", "ok", str(path))
