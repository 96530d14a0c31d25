"""What a run tells while it goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlllm.jobs.asked import Counts
from sqlllm.runtime.progress import Work, duration

OnEvent = Callable[[Mapping[str, Any]], None]


class Events:
    """Hands events of a run on, one at a time.

    Args:
        on_event: Gets each; None: nobody does.

    Attributes:
        run: The run's name in `ai.runs`.
        statement: The number of the statement that runs.
    """

    PROGRESS_EVERY = 1.0  # seconds between two events of that kind

    def __init__(self, on_event: OnEvent | None) -> None:
        self.run = ""
        self.statement = 0
        self._on_event = on_event or (lambda event: None)
        self._next = 0.0
        self._lock = threading.Lock()

    def tell(self, event: str, **values: Any) -> None:
        """Hand one on."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self._on_event({"event": event, "time": now, "run": self.run, **values})

    def progress(self, work: Work) -> None:
        """Tell how far a call is, now and then."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.PROGRESS_EVERY
        self.tell(
            "progress",
            statement=self.statement,
            call=work.name,
            rows=work.rows,
            distinct=work.distinct,
            cached=work.cached,
            sent=work.sent,
            tokens=work.tokens,
            tokens_per_second=_rounded(work.tokens_per_second),
            seconds_left=_rounded(work.seconds_left),
            line=str(work),
        )


def shown(counts: Counts, seconds: float) -> dict[str, Any]:
    """Counts for an event."""
    values = {**asdict(counts), "tokens": counts.tokens, "seconds": round(seconds, 3)}
    return {**values, "line": f"{counts}, {duration(seconds)}"}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
