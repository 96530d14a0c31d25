"""Locks that a fork leaves free, whatever other threads did at that moment."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_LEVELS: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_HELD: list[Any] = []
_OWN: weakref.WeakSet[Any] = weakref.WeakSet()


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


def own_lock() -> Any:
    """A lock that is free in a forked process: who held it is not there, and begins nothing again.

    For what a fork can't wait for, such as a model that is loaded.

    Example:
        >>> with own_lock():
        ...     pass
    """
    lock = threading.Lock()
    _OWN.add(lock)
    return lock


def _renew() -> None:
    _free()
    for lock in list(_OWN):
        lock._at_fork_reinit()


def _hold() -> None:
    alive = [lock for ref in _LEVELS.keyrefs() if (lock := ref()) is not None]
    for lock in sorted(alive, key=_LEVELS.__getitem__):  # others may make new ones meanwhile
        lock.acquire()
        _HELD.append(lock)


def _free() -> None:
    while _HELD:
        _HELD.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_free, after_in_child=_renew)
