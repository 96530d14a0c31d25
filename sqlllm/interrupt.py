"""Ctrl-C while the main thread is inside DuckDB, or a model runs on another one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlllm.connection import Connection


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


@contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop`, on a thread of its own, as soon as Ctrl-C or a SIGTERM that is handled comes.

    Python tells the main thread alone, and only when that is back from what it does: DuckDB looks
    between two parts of a query, which may be hours apart. What happens anyway, such as
    KeyboardInterrupt, happens afterwards. Does nothing on another thread than the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def watch() -> None:
        while number := os.read(reader, 1)[0]:
            if number in (signal.SIGINT, signal.SIGTERM):
                stop()

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.write(writer, b"\0")  # no signal has this number
        thread.join()
        os.close(reader)
        os.close(writer)


def end_query(db: Connection) -> None:
    """End what runs on the main thread, on the word of another one.

    Where the main thread waits for a model, it is told by the signal itself, and to be told twice
    would cost the batch.
    """
    waits = db.runtime.statements.waits(threading.main_thread().ident or 0)
    (db._con if waits else db).interrupt()
