"""What was asked, of which model, and what failed."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class Usage:
    """One row of `ai.usage`: one function with one model in one query."""

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


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of `ai.errors`: an input that became NULL, and why."""

    query_id: int
    function: str
    model: str
    input: str
    message: str


def added(row: Usage, entry: Usage) -> None:
    """Add the counts of `entry` to `row`."""
    for name in Usage.__slots__[3:]:
        setattr(row, name, getattr(row, name) + getattr(entry, name))


class Ledger:
    """Usage and errors of the latest queries; the oldest are forgotten."""

    KEPT = 10_000

    def __init__(self) -> None:
        self._usage: dict[tuple[int, str, str], Usage] = {}
        self._failures: deque[Failure] = deque(maxlen=self.KEPT)
        self._lock = threading.Lock()

    def add(self, entry: Usage) -> None:
        """Add counts to the row of the same query, function and model."""
        key = (entry.query_id, entry.function, entry.model)
        with self._lock:
            row = self._usage.setdefault(key, Usage(*key))
            added(row, entry)
            while len(self._usage) > self.KEPT:
                del self._usage[next(iter(self._usage))]

    def seconds_per_input(self, function: str, model: str) -> float | None:
        """As measured so far, or None before the first input was sent."""
        rows = [r for r in self.usage() if (r.function, r.model) == (function, model) and r.sent]
        return sum(r.seconds for r in rows) / sum(r.sent for r in rows) if rows else None

    def fail(self, failure: Failure) -> None:
        """Record an input without an answer."""
        self._failures.append(failure)

    def usage(self) -> list[Usage]:
        """The rows so far, oldest first."""
        with self._lock:
            return list(self._usage.values())

    def failures(self) -> list[Failure]:
        """The failures so far, oldest first."""
        return list(self._failures)
