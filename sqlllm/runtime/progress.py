"""A progress bar on a terminal, lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import rich.progress


class Progress(Protocol):
    """Shows how far a call to a model is."""

    def bar(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """A bar of `total` inputs; the context gives a function that moves it on."""


class Logged:
    """A line in the log (`sqlllm.progress`, INFO) every few seconds; quick calls write none."""

    EVERY = 5.0  # seconds

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Lines such as `classify · minilm: 2048 of 10000 inputs`."""
        logger = logging.getLogger("sqlllm.progress")
        done, next_line = 0, time.monotonic() + self.EVERY

        def advance(count: int) -> None:
            nonlocal done, next_line
            done += count
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + self.EVERY
                logger.info("%s: %d of %d inputs", name, done, total)

        yield advance


class Deferred:
    """A bar that opens when there is something to wait for, and closes with the context."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._name = name
        self._total = total
        self._stack = ExitStack()
        self._advance: Callable[[int], None] | None = None

    def __enter__(self) -> Deferred:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def skip(self, count: int) -> None:
        """So many inputs need no waiting."""
        if self._advance is None:
            self._total -= count
        else:
            self._advance(count)

    def advance(self, count: int) -> None:
        """So many inputs are answered; 0 opens the bar."""
        if self._advance is None:
            bar = self._progress.bar(self._name, self._total)
            self._advance = self._stack.enter_context(bar)
        self._advance(count)


class RichProgress:
    """Bars on standard error, one per function and model, removed when done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: rich.progress.Progress | None = None
        self._open = 0

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on the shared display, which lives while any bar does."""
        with self._lock:
            live = self._live = self._live or _display()
            self._open += 1
            live.start()
            task = live.add_task(name, total=total)
        try:
            yield lambda count: live.advance(task, count)
        finally:
            with self._lock:
                self._open -= 1
                if not self._open:
                    live.stop()
                    self._live = None


def _display() -> rich.progress.Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("inputs"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def progress_for(wanted: bool | None) -> Progress:
    """A bar when wanted, or when nobody said and standard error is a terminal."""
    show = sys.stderr.isatty() if wanted is None else wanted
    return RichProgress() if show else Logged()
