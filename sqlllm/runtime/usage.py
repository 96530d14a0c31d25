"""What was asked, of which model, and what failed: buffered here, kept in the state file."""

from __future__ import annotations

import atexit
import os
import sqlite3
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sqlllm.errors import StorageError, first_line
from sqlllm.locks import shared_lock
from sqlllm.runtime.state import SCHEMA
from sqlllm.storage import Database, warn


@dataclass(slots=True)
class Usage:
    """One row of `ai.usage`: one function with one model in one query.

    `cost` is None where the model has no price.
    """

    query_id: int
    function: str
    model: str
    rows: int = 0
    distinct_inputs: int = 0
    cached: int = 0
    sent: int = 0
    batches: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    errors: int = 0
    cost: float | None = None
    started: float = field(default_factory=lambda: time.time())  # seconds since 1970
    noted: dict[str, Any] = field(default_factory=dict)  # what the ledger has of it


COUNTS = (
    "rows", "distinct_inputs", "cached", "sent", "batches", "prompt_tokens", "completion_tokens",
    "seconds", "errors", "cost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of `ai.errors`: an input that became NULL, and why."""

    query_id: int
    function: str
    model: str
    input: str
    message: str


@dataclass(slots=True)
class Spent:
    """What was asked of models within a budget's scope; `calls` are inputs sent."""

    calls: int = 0
    tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def add(self, other: Spent, sign: int = 1) -> None:
        """Add the numbers of `other`, or take them away."""
        for name in Spent.__slots__:
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))


@dataclass(slots=True)
class Tally(Spent):
    """What was spent within one scope, and how many threads may still give some back."""

    pending: int = 0


def added(row: Usage, entry: Usage) -> None:
    """Add the counts of `entry` to `row`."""
    for name in COUNTS:
        old, new = getattr(row, name), getattr(entry, name)
        setattr(row, name, old if new is None else (old or 0) + new)


def today() -> str:
    """The local day, as in 2026-01-31."""
    return time.strftime("%Y-%m-%d")


_KEY = ("session", "query_id", "function", "model")
_USAGE = (*_KEY, "run", "started", *COUNTS)
_ERRORS = ("at", "session", "run", "query_id", "function", "model", "input", "message")

_ADD_USAGE = f"""
INSERT INTO usage ({", ".join(_USAGE)}) VALUES ({", ".join("?" * len(_USAGE))})
ON CONFLICT ({", ".join(_KEY)}) DO UPDATE SET
    {", ".join(f"{name} = usage.{name} + excluded.{name}" for name in COUNTS[:-1])},
    cost = CASE WHEN usage.cost IS NULL THEN excluded.cost
        ELSE usage.cost + coalesce(excluded.cost, 0) END"""
_ADD_ERROR = f"INSERT INTO errors VALUES ({', '.join('?' * len(_ERRORS))})"
_ADD_SPENT = """
INSERT INTO spent VALUES (?, ?, ?, ?, ?) ON CONFLICT (day) DO UPDATE SET
    calls = spent.calls + excluded.calls, tokens = spent.tokens + excluded.tokens,
    seconds = spent.seconds + excluded.seconds, cost = spent.cost + excluded.cost"""


class Ledger:
    """Usage and errors, of this process and of the others that share the state file.

    What is added is written soon: at once where `flush` is called, else with the first call after
    a second, and when the process ends. A file that can't be written fails nothing: there is one
    `StorageWarning`, and what is not written is kept here.

    Args:
        database: The state file; None: tables in memory.

    Attributes:
        run: The job's run that asks now, or None.

    Example:
        >>> ledger = Ledger()
        >>> entry = Usage(1, "complete", "smollm2", rows=5, sent=3)
        >>> ledger.add(entry)
        >>> entry.sent += 2
        >>> ledger.add(entry)
        >>> [(row["rows"], row["sent"], row["this_session"]) for row in ledger.usage()]
        [(5, 5, True)]
    """

    EVERY = 1.0  # seconds between writes of what asked no model
    PATIENCE = 60.0  # seconds until a file that could not be written is tried again
    DAYS = 90  # older rows are dropped, of runs that are over, too
    KEPT = 50_000  # rows of usage, of errors, and of runs
    DROP = 1000  # rows between two times that old ones are dropped
    WAITING = 10_000  # rows that are kept where the file can't be written

    def __init__(self, database: Database | None = None) -> None:
        self.run: str | None = None
        self._database = database or Database(None, SCHEMA)
        self._totals: dict[tuple[str, str], Usage] = {}
        self._lock = shared_lock(1)
        self._warned = False
        self._begin()
        atexit.register(_flush, weakref.ref(self))

    def _begin(self) -> None:
        """A session of this process."""
        self._pid = os.getpid()
        self.session = uuid.uuid4().hex
        self._usage: dict[tuple[int, str, str], tuple[Usage, str | None]] = {}
        self._asked: dict[tuple[str, str], Usage] = {}
        self._failures: deque[tuple[Any, ...]] = deque(maxlen=self.WAITING)
        self._spent: dict[str, Spent] = {}
        self._new = self.DROP  # rows since old ones were dropped
        self._next = time.monotonic() + self.EVERY
        self._retry = 0.0

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._begin()  # forked: what is buffered is the parent's to write

    def keep_in(self, database: Database) -> None:
        """Write to another state file from now on."""
        self.flush()
        with self._lock:
            self._database, self._retry, self._warned = database, 0.0, False

    def add(self, entry: Usage) -> None:
        """Note what has been counted in an entry since it was last noted."""
        with self._lock:
            self._check_process()
            new = replace(entry)
            for name, before in entry.noted.items():
                setattr(new, name, getattr(entry, name) - before)
            counts = {name: getattr(entry, name) for name in COUNTS}
            entry.noted = {name: count for name, count in counts.items() if count is not None}
            key = (entry.query_id, entry.function, entry.model)
            row, _ = self._usage.setdefault(key, (Usage(*key, started=entry.started), self.run))
            added(row, new)
            if self.run is not None:
                added(self._asked.setdefault((self.run, entry.model), Usage(*key)), new)
            if entry.sent:
                added(self._totals.setdefault(key[1:], Usage(*key)), new)
            while len(self._usage) > self.WAITING:
                del self._usage[next(iter(self._usage))]
            if time.monotonic() >= self._next:
                self.flush()

    def fail(self, failure: Failure) -> None:
        """Record an input without an answer."""
        with self._lock:
            self._check_process()
            self._failures.append((time.time(), self.session, self.run, *astuple(failure)))

    def spend(self, day: str, spent: Spent, sign: int = 1) -> None:
        """Count what was asked on a day."""
        with self._lock:
            self._check_process()
            self._spent.setdefault(day, Spent()).add(spent, sign)

    def reserve(self, day: str, take: Callable[[Spent], Spent]) -> Spent:
        """Count what `take` takes, given what all processes have asked that day; gives the latter.

        No other process can take anything meanwhile.

        Raises:
            StorageError: The state file can't be written, so that nobody can know.
        """

        def work(con: sqlite3.Connection) -> Spent:
            self._write(con)
            row = con.execute("SELECT * FROM spent WHERE day = ?", [day]).fetchone()
            spent = Spent(*row[1:]) if row else Spent()
            con.execute(_ADD_SPENT, (day, *astuple(take(spent))))
            return spent

        with self._lock:
            self._check_process()
            try:
                spent = self._database.write(work)
            except StorageError as error:
                msg = f"the budget per day can't be kept: {first_line(error)}"
                raise StorageError(msg, hint="without [budgets.day] no record is needed") from error
            self._written()
            return spent

    def flush(self) -> None:
        """Write what is not written yet."""
        with self._lock:
            self._check_process()
            waiting = self._usage or self._failures or self._spent
            if not waiting or time.monotonic() < self._retry:
                return
            try:
                self._database.write(self._write)
            except StorageError as error:
                self._lost(error)
            else:
                self._written()

    def asked(self) -> dict[str, Usage]:
        """What the run that asks now has asked so far, by model."""
        with self._lock:
            return {model: sums for (run, model), sums in self._asked.items() if run == self.run}

    def usage(self) -> list[dict[str, Any]]:
        """The rows of `ai.usage`, oldest first."""
        with self._lock:
            rows = self._rows("usage", _USAGE, "started, session, query_id, function, model")
            rows += [self._row(row, run) for row, run in self._usage.values()]
        return [self._seen(_USAGE, row, "started") for row in rows]

    def failures(self) -> list[dict[str, Any]]:
        """The rows of `ai.errors`, oldest first."""
        with self._lock:
            rows = [*self._rows("errors", _ERRORS, "at, rowid"), *self._failures]
        return [self._seen(_ERRORS, row, "at") for row in rows]

    def seconds_per_input(self, function: str, model: str) -> float | None:
        """As measured so far, or None before the first input was sent."""
        total = self.total(function, model)
        return total.seconds / total.sent if total.sent else None

    def total(self, function: str, model: str) -> Usage:
        """What this process has asked of a model on behalf of a function."""
        return self._totals.get((function, model)) or Usage(0, function, model)

    def _rows(self, table: str, columns: tuple[str, ...], order: str) -> list[Any]:
        """What is in the file: all, unless it can't be written."""
        sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"
        self.flush()
        try:
            return self._database.read(lambda con: con.execute(sql).fetchall())
        except StorageError as error:
            self._lost(error)
            return []

    def _seen(self, columns: tuple[str, ...], row: Any, when: str) -> dict[str, Any]:
        found = dict(zip(columns, row, strict=True))
        found[when] = datetime.fromtimestamp(found[when], UTC)
        found["this_session"] = found.pop("session") == self.session
        return found

    def _row(self, row: Usage, run: str | None) -> tuple[Any, ...]:
        key = (self.session, row.query_id, row.function, row.model)
        return (*key, run, row.started, *(getattr(row, name) for name in COUNTS))

    def _write(self, con: sqlite3.Connection) -> None:
        con.executemany(_ADD_USAGE, [self._row(row, run) for row, run in self._usage.values()])
        con.executemany(_ADD_ERROR, self._failures)
        con.executemany(_ADD_SPENT, [(day, *astuple(spent)) for day, spent in self._spent.items()])
        if self._new >= self.DROP:
            self._drop_old(con)

    def _drop_old(self, con: sqlite3.Connection) -> None:
        oldest = time.time() - self.DAYS * 86400
        con.execute("DELETE FROM spent WHERE day < date(?, 'unixepoch')", [oldest])
        over = "state NOT IN ('running', 'committing')"
        for table, at, old in (
            ("usage", "started", "true"), ("errors", "at", "true"), ("runs", "started", over),
        ):  # fmt: skip
            con.execute(f"DELETE FROM {table} WHERE {old} AND {at} < ?", [oldest])
            con.execute(
                f"DELETE FROM {table} WHERE {old} AND {at} < "
                f"(SELECT {at} FROM {table} ORDER BY {at} DESC LIMIT 1 OFFSET {self.KEPT - 1})"
            )

    def _written(self) -> None:
        before = self._new if self._new < self.DROP else 0
        self._new = before + len(self._usage) + len(self._failures)
        self._usage.clear()
        self._failures.clear()
        self._spent.clear()
        self._warned = False  # the next time is told, too
        self._next = time.monotonic() + self.EVERY

    def _lost(self, error: StorageError) -> None:
        self._retry = self._next = time.monotonic() + self.PATIENCE
        if not self._warned:
            self._warned = True
            warn(f"usage and errors are kept in this process only: {first_line(error)}")


def _flush(ledger: weakref.ref[Ledger]) -> None:
    alive = ledger()
    if alive is not None:
        alive.flush()
