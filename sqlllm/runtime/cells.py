"""Progress in a notebook: a bar below the running cell, which ends as a line of what was asked."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlllm.html import Html, Shown, tag
from sqlllm.runtime.progress import Work, duration


def notebook() -> Any:
    """IPython's shell where it runs for a notebook; None elsewhere, and on a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if hasattr(shell, "kernel") else None


class CellProgress:
    """One bar per cell, function and model, however many calls a statement makes of it.

    Args:
        shell: IPython's.
    """

    EVERY = 0.2  # seconds between two pictures of a bar

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._lock = threading.Lock()
        self._cell = -1
        self._bars: dict[str, _Bar] = {}

    @contextmanager
    def bar(self, work: Work) -> Iterator[Callable[[], None]]:
        """Show the work; the context gives a function that shows it again."""
        with self._lock:
            if self._shell.execution_count != self._cell:
                self._cell = self._shell.execution_count
                self._bars = {}
            bar = self._bars.setdefault(work.name, _Bar())
            bar.works.append(work)
        try:
            yield lambda: self._show(bar)
        finally:
            self._show(bar, done=True)

    def _show(self, bar: _Bar, *, done: bool = False) -> None:
        with self._lock:
            if done:
                bar.over += 1
            elif time.monotonic() < bar.next:
                return
            bar.next = time.monotonic() + self.EVERY
            seen = shown(bar.total(), running=bar.over < len(bar.works))
            if bar.handle is None:
                from IPython.display import DisplayHandle

                bar.handle = DisplayHandle()  # type: ignore[no-untyped-call]
                bar.handle.display(seen)
            else:
                bar.handle.update(seen)


@dataclass(slots=True)
class _Bar:
    """The calls of one function with one model in a cell."""

    works: list[Work] = field(default_factory=list)
    over: int = 0
    next: float = 0.0
    handle: Any = None

    def total(self) -> Work:
        total = Work(self.works[0].name, 0, 0)
        for work in self.works:
            for name in ("rows", "distinct", "cached", "sent", "tokens", "seconds"):
                setattr(total, name, getattr(total, name) + getattr(work, name))
        return total


def shown(work: Work, *, running: bool) -> Shown:
    """A bar with numbers while the work is running, then the numbers alone."""
    if not running:
        return Shown(tag("small", line := done(work)), line)
    bar = tag("progress", value=str(work.done), max=str(work.distinct))
    return Shown(tag("small", bar, Html(" "), str(work)), str(work))


def done(work: Work) -> str:
    """What was asked, for a person to read."""
    parts = [f"{work.rows:,} rows"] if work.rows else []
    parts += [f"{work.distinct:,} distinct"]
    parts += [f"{work.cached:,} cached"] if work.cached else []
    parts += [f"{work.sent:,} sent", f"{work.tokens:,} tokens", duration(work.seconds)]
    return f"{work.name}: {', '.join(parts)}"
