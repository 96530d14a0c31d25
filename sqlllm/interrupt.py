"""Ctrl-C while DuckDB runs a model on a thread of its own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_interrupt(tell: Callable[[], bool]) -> Iterator[None]:
    """Call `tell` when Ctrl-C arrives, and then do what happens anyway unless it returns true.

    DuckDB notices the signal on the thread that waits for the query, but a model that runs on
    another would go on to its last input. Python allows signal handlers on the main thread alone;
    elsewhere this does nothing.
    """
    before: Any = None
    if threading.current_thread() is threading.main_thread():
        before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return

    def handler(number: int, frame: Any) -> Any:
        return None if tell() else before(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
