"""Locks that a fork leaves free, whatever other threads did at that moment."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_LEVELS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_HELD: list[Any] = []


def shared_lock(level: int) -> Any:
    """An RLock that nobody else holds in a forked process: a fork waits until it is free.

    Args:
        level: Who holds a lock takes others of higher levels only.

    Example:
        >>> with shared_lock(0), shared_lock(1):
        ...     pass  # in this order
    """
    lock = threading.RLock()
    _LEVELS[lock] = level
    return lock


def _hold() -> None:
    for lock in sorted(_LEVELS, key=_LEVELS.__getitem__):
        lock.acquire()
        _HELD.append(lock)


def _free() -> None:
    while _HELD:
        _HELD.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_free, after_in_child=_free)
