"""A progress bar on a terminal, lines in the log elsewhere, or a callback."""

from __future__ import annotations

import copy
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress


@dataclass(slots=True)
class Work:
    """How far one call to a model is.

    Attributes:
        name: The function and the model.
        rows: Rows that the inputs stand for.
        distinct: Distinct inputs.
        cached: Those that needed no model.
        sent: Those that the model has answered.
        tokens: Read and written for them.
        seconds: Since the first was sent.

    Example:
        >>> work = Work("classify · minilm", rows=120, distinct=100, cached=20, sent=40)
        >>> work.tokens, work.seconds = 800, 10.0
        >>> work.tokens_per_second, work.seconds_left
        (80.0, 10.0)
        >>> print(work)
        classify · minilm: 60 of 100 inputs, 20 of them cached, 80 tokens/s, 10 s left
    """

    name: str
    rows: int
    distinct: int
    cached: int = 0
    sent: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Inputs that have an answer."""
        return self.cached + self.sent

    @property
    def tokens_per_second(self) -> float | None:
        """None before the first answer."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """If none of what is left is cached; None before the first answer."""
        left = self.distinct - self.done
        return left * self.seconds / self.sent if self.sent else None

    def __str__(self) -> str:
        """One line of a log."""
        parts = [f"{self.name}: {self.done:,} of {self.distinct:,} inputs"]
        parts += [f"{self.cached:,} of them cached"] if self.cached else []
        if self.tokens_per_second is not None:
            parts.append(f"{self.tokens_per_second:,.0f} tokens/s")
        if self.seconds_left:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """For a person to read.

    Example:
        >>> duration(0.42), duration(42.3), duration(500), duration(9000)
        ('0.4 s', '42 s', '8 min', '2.5 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Progress(Protocol):
    """Shows how far a call to a model is."""

    def bar(self, work: Work) -> AbstractContextManager[Callable[[], None]]:
        """A bar; the context gives a function that shows how far the work is now."""


class Logged:
    """A line every few seconds; quick calls write none.

    Args:
        say: Gets the line; by default the log (`sqlllm.progress`, INFO).
    """

    EVERY = 5.0  # seconds

    def __init__(self, say: Callable[[str], object] | None = None) -> None:
        self._say = say or partial(logging.getLogger("sqlllm.progress").info, "%s")
        self._seen = self._next = 0.0  # one clock: a statement may be many short calls

    @contextmanager
    def bar(self, work: Work) -> Iterator[Callable[[], None]]:
        """Lines such as `classify · minilm: 2,048 of 10,000 inputs, 12 s left`."""
        if time.monotonic() > self._seen + self.EVERY:
            self._next = time.monotonic() + self.EVERY

        def show() -> None:
            self._seen = time.monotonic()
            if work.done and self._seen >= self._next:
                self._next = self._seen + self.EVERY
                self._say(str(work))  # now: it goes on changing

        yield show


class Told:
    """A function is called with a copy of the work, each time there is something new."""

    def __init__(self, tell: Callable[[Work], None]) -> None:
        self._tell = tell

    @contextmanager
    def bar(self, work: Work) -> Iterator[Callable[[], None]]:
        """Call it."""
        yield lambda: self._tell(copy.copy(work))


class Deferred:
    """A bar that opens when there is something to wait for, and closes with the context."""

    def __init__(self, progress: Progress, work: Work) -> None:
        self._progress = progress
        self._work = work
        self._stack = ExitStack()
        self._show: Callable[[], None] | None = None
        self._started = 0.0

    def __enter__(self) -> Deferred:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def skip(self, count: int) -> None:
        """So many inputs need no waiting: known before the bar opens."""
        self._work.cached += count

    def advance(self, count: int, tokens: int = 0) -> None:
        """So many inputs are answered, for so many tokens; 0 opens the bar."""
        if self._show is None:
            self._started = time.monotonic()
            self._show = self._stack.enter_context(self._progress.bar(self._work))
        self._work.sent += count
        self._work.tokens += tokens
        self._work.seconds = time.monotonic() - self._started
        self._show()


class RichProgress:
    """Bars on standard error, one per function and model, removed when done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: rich.progress.Progress | None = None
        self._open = 0

    @contextmanager
    def bar(self, work: Work) -> Iterator[Callable[[], None]]:
        """A bar on the shared display, which lives while any bar does."""
        with self._lock:
            live = self._live = self._live or _display()
            self._open += 1
            live.start()
            task = live.add_task(work.name, total=work.distinct, numbers=_numbers(work))
        try:
            yield lambda: live.update(task, completed=work.done, numbers=_numbers(work))
        finally:
            with self._lock:
                self._open -= 1
                if not self._open:
                    live.stop()
                    self._live = None


def _numbers(work: Work) -> str:
    """What stands behind the bar."""
    speed, left = work.tokens_per_second, work.seconds_left
    numbers = [
        f"{work.rows:,} rows" if work.rows else "",
        f"{work.cached:,} cached" if work.cached else "",
        f"{speed:,.0f} tokens/s" if speed is not None else "",
        f"{duration(left)} left" if left is not None else "",
    ]
    return " · ".join(n for n in numbers if n)


def _display() -> rich.progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=20),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
        transient=True,  # a query in chunks has hundreds
    )


def progress_for(wanted: bool | Callable[[Work], None] | None) -> Progress:
    """A bar when wanted, or when nobody said and someone may be watching; or a callback."""
    from sqlllm.runtime.cells import CellProgress, notebook

    if callable(wanted):
        return Told(wanted)
    cells = notebook()
    show = bool(cells or sys.stderr.isatty()) if wanted is None else wanted
    if not show:
        return Logged()
    return CellProgress(cells) if cells else RichProgress()
