"""Answers by key. The in-memory cache; a durable one has the same two methods."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol


class Cache(Protocol):
    """Where answers are kept: 16-byte key -> encoded answer."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The answers, None where there is none."""

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep answers."""


class MemoryCache:
    """A dict that drops its oldest answers when it outgrows `max_bytes`.

    Example:
        >>> cache = MemoryCache(max_bytes=1000)
        >>> cache.put_many([(b"k", b"answer")])
        >>> cache.get_many([b"k", b"x"])
        [b'answer', None]
    """

    OVERHEAD = 150  # bytes that a dict entry, a key and a bytes object take beside the answer

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The answers, None where there is none."""
        get = self._answers.get
        return [get(key) for key in keys]

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep answers, and make room."""
        with self._lock:
            for key, answer in items:
                if key not in self._answers:
                    self._answers[key] = answer
                    self._bytes += len(answer) + self.OVERHEAD
            while self._bytes > self._max_bytes:
                oldest = next(iter(self._answers))
                self._bytes -= len(self._answers.pop(oldest)) + self.OVERHEAD


@cache
def shared_cache(max_bytes: int) -> MemoryCache:
    """The process's cache of that size: keys carry the model's fingerprint, so all may share it."""
    return MemoryCache(max_bytes)
