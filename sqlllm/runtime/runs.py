"""The runs of jobs: a record of each in the state file, and a lock that lets one run at a time."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlllm.errors import JobRunning, StorageError
from sqlllm.runtime.state import state
from sqlllm.settings import Settings, state_path
from sqlllm.storage import named

OPEN = ("running", "committing")  # what a run is called while its process lives

COUNTS = ("rows", "distinct_inputs", "cached", "sent", "prompt_tokens", "completion_tokens",
    "errors", "cost")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Job:
    """What may run once at a time: a name, and the database that it works on."""

    name: str
    database: str

    def __str__(self) -> str:
        """For a person to read."""
        return f"job {self.name!r} on {self.database}"


class Runs:
    """The runs that a state file knows.

    Args:
        settings: Where that file is. The locks lie beside it.
    """

    PATIENCE = 1.0  # seconds; who looks at `ai.runs` takes a lock for an instant, to see if it can

    def __init__(self, settings: Settings) -> None:
        self._state = state(settings)
        self._folder = state_path(settings).parent

    @contextmanager
    def only(self, job: Job) -> Iterator[dict[str, Any] | None]:
        """Hold the job's lock. The system frees it when the process ends, however it ends.

        Gives the run before, if that was killed: its record says so from now on.

        Raises:
            JobRunning: Another run holds it.
            StorageError: The folder of the state file can't be written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self._lock(job))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=self.PATIENCE)
        except Timeout:
            raise self._taken(job) from None
        except OSError as error:
            msg = f"the lock of {job} can't be written: {error}"
            raise StorageError(msg, hint="make the folder writable, or set `state_file`") from error
        try:
            yield self._bury(job)
        finally:
            lock.release()

    def begin(self, job: Job, script: str, statements: int, versions: str) -> str:
        """Record that a run has begun; returns its name."""
        run = uuid.uuid4().hex[:16]
        values = (run, job.name, script, job.database, os.getpid(), time.time(), "running")
        self._state.write(
            lambda con: con.execute(
                'INSERT INTO runs (run, job, script, "database", pid, started, state, statement, '
                "statements, versions) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
                (*values, statements, versions),
            )
        )
        return run

    def update(self, run: str, **values: Any) -> None:
        """Change columns of a run's record."""
        changes = ", ".join(f"{name} = ?" for name in values)
        self._state.write(
            lambda con: con.execute(
                f"UPDATE runs SET {changes} WHERE run = ?", (*values.values(), run)
            )
        )

    def rows(self) -> list[dict[str, Any]]:
        """Every run with its counts, oldest first; one whose process is gone is `killed`."""
        found = self._state.read(_runs)
        for row in found:
            if row["state"] in OPEN and not self._lives(row, found):
                row["state"] = "killed"
        return found

    def _lives(self, row: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
        """Whether the run's process does: it has the lock, and no later run of the job began.

        Of those that have ended the clock may say that they began later: it can be set back.
        """
        job = _job(row)
        last = [each for each in rows if each["state"] in OPEN and _job(each) == job][-1]
        return last is row and self._is_held(job)

    def _is_held(self, job: Job) -> bool:
        from filelock import FileLock, Timeout

        path = self._lock(job)
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except (Timeout, OSError):
            return True

    def _lock(self, job: Job) -> Path:
        name = hashlib.blake2b(f"{job.name}\0{job.database}".encode(), digest_size=8).hexdigest()
        return self._folder / f"job-{name}.lock"

    def _taken(self, job: Job) -> JobRunning:
        holders = [r for r in self._of(job) if r["state"] in OPEN]
        who = "another process"
        if holders:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holders[-1]["started"]))
            who = f"process {holders[-1]['pid']}, since {since}"
        msg = f"{job} is running already: {who}"
        return JobRunning(msg, hint="wait for it, or give this one another `name`")

    def _of(self, job: Job) -> list[dict[str, Any]]:
        sql = 'SELECT * FROM runs WHERE job = ? AND "database" = ? ORDER BY started, run'
        key = (job.name, job.database)
        return self._state.read(lambda con: named(con.execute(sql, key)))

    def _bury(self, job: Job) -> dict[str, Any] | None:
        """Record that runs were killed whose lock we hold now; the last of them, if it was."""
        before = self._of(job)
        for row in before:
            if row["state"] in OPEN:
                words = f" while it was {row['state']}" if row["state"] == "committing" else ""
                self.update(row["run"], state="killed", message=f"its process ended{words}")
        return before[-1] if before and before[-1]["state"] in (*OPEN, "killed") else None


def _job(row: dict[str, Any]) -> Job:
    return Job(row["job"], row["database"])


def _runs(con: sqlite3.Connection) -> list[dict[str, Any]]:
    counts = ", ".join(f"sum({name}) AS {name}" for name in COUNTS)
    usage = f"SELECT run, {counts} FROM usage WHERE run IS NOT NULL GROUP BY run"  # each read once
    sql = f"SELECT * FROM runs LEFT JOIN ({usage}) USING (run) ORDER BY started, run"
    return named(con.execute(sql))
