"""The latest statements that asked a model: what reports tell of."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from sqlllm.runtime.usage import Usage, added

Answered = dict[tuple[str, str], dict[str, str]]
"""By function and options: some distinct answers, and the text that each is about."""


@dataclass(slots=True)
class Ran:
    """A script that was run, and what it asked.

    Attributes:
        text: As the user wrote it.
        sql: As DuckDB got it.
        fired: The rules that changed something.
        notes: Why a statement was left as it stands.
        began: Seconds since 1970.
        error: Why it failed.
        usage: By function and model.
        answers: Some of each call, cut to `WIDTH` characters.
        kept: Whether it is in the history.
    """

    WIDTH = 80
    MOST = 10  # distinct answers of a call
    CALLS = 16  # with answers

    text: str
    sql: str = ""
    fired: Sequence[str] = ()
    notes: Sequence[str] = ()
    began: float = field(default_factory=time.time)
    error: str | None = None
    usage: dict[tuple[str, str], Usage] = field(default_factory=dict)
    answers: Answered = field(default_factory=dict)
    kept: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, usage: Usage) -> None:
        """Add up what was asked."""
        with self._lock:
            key = (usage.function, usage.model)
            added(self.usage.setdefault(key, Usage(usage.query_id, *key)), usage)

    def sample(self, function: str, options: str, texts: pa.Array, answers: pa.Array) -> None:
        """Keep some of the answers to a chunk of rows, and the beginning of their texts."""
        with self._lock:
            if len(self.answers) >= self.CALLS and (function, options) not in self.answers:
                return
            found = self.answers.setdefault((function, options), {})
            if len(found) >= self.MOST:
                return
            first = (column.slice(0, 32).to_pylist() for column in (texts, answers))
            for text, answer in zip(*first, strict=True):
                if answer is not None and len(found) < self.MOST:
                    found.setdefault(cut(_written(answer)), cut(str(text)))


def cut(text: str, width: int = Ran.WIDTH) -> str:
    """The beginning of a text, on one line.

    Example:
        >>> cut("one\\ntwo three", width=9)
        'one two …'
    """
    line = " ".join(text[: width * 4].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _written(answer: Any) -> str:
    if isinstance(answer, float):
        return f"{answer:.3g}"
    if isinstance(answer, list) and answer and isinstance(answer[0], float):
        return f"[{', '.join(map(_written, answer))}]"
    return str(answer)


class History:
    """The latest statements that asked a model, oldest first."""

    KEPT = 1000

    def __init__(self) -> None:
        self._ran: deque[Ran] = deque(maxlen=self.KEPT)
        self._now: dict[int, Ran] = {}
        self._lock = threading.RLock()

    def begin(self, connection_id: int, ran: Ran) -> None:
        """What that connection asks from now on is of this statement."""
        with self._lock:
            self._now.pop(connection_id, None)
            self._now[connection_id] = ran
            while len(self._now) > self.KEPT:  # nobody closes each of the connections
                del self._now[next(iter(self._now))]

    def end(self, connection_id: int) -> None:
        """What it asks is of no statement."""
        with self._lock:
            self._now.pop(connection_id, None)

    def now(self, connection_id: int) -> Ran | None:
        """The statement of a connection that is about to ask something."""
        ran = self._now.get(connection_id)
        if ran is not None and not ran.kept:
            ran.kept = True
            self._ran.append(ran)
        return ran

    def __iter__(self) -> Iterator[Ran]:
        return iter(list(self._ran))
