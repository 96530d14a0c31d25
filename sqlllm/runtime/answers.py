"""Answers in columns: Python objects take several times the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import SqlllmError
from sqlllm.runtime.memory import POOL

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 14
"""Answers that the cache keeps together, and texts that are hashed together."""

ASKED = 1 << 13
"""Distinct inputs that are Python objects, and on their way to a model, at a time. It is eight
times what a GPU writes at once, so that it is seldom half empty while the last rows finish; and
what a million rows take as objects stays what 8,192 take."""


def to_numpy(column: pa.Array) -> Array:
    """A column without NULL as an array."""
    found: Array = column.to_numpy(zero_copy_only=False)
    return found


def packed(column: pa.Array) -> tuple[Array, memoryview]:
    """Of a column of text or bytes: where each value ends, after a 0, and the bytes of all.

    Example:
        >>> ends, data = packed(pa.array(["ab", None, "c"])[1:])
        >>> ends.tolist(), bytes(data)
        ([0, 0, 1], b'c')
    """
    _, offsets, data = column.buffers()
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    ends = np.frombuffer(offsets or bytes(8), np.int64 if wide else np.int32)
    ends = ends[column.offset :][: len(column) + 1]
    held = memoryview(data)[ends[0] : ends[-1]] if data is not None else memoryview(b"")
    return ends - ends[0] if ends[0] else ends, held


def joined(columns: list[pa.Array]) -> pa.Array:
    """One column of several."""
    if len(columns) == 1:
        return columns[0]
    kind = pa.large_binary() if sum(c.nbytes for c in columns) > MOST_BYTES else pa.binary()
    parts = [pa.array([], kind), *(column.cast(kind, memory_pool=POOL) for column in columns)]
    return pa.concat_arrays(parts, memory_pool=POOL)


def picked(which: Array, rows: Array, column: Callable[[int], pa.Array]) -> pa.Array:
    """Of each pair the value in that row of the column with that number; NULL below 0.

    Example:
        >>> columns = [pa.array([b"a", b"b"]), pa.array([b"c"])]
        >>> picked(np.array([1, -1, 0]), np.array([0, 0, 1]), columns.__getitem__).to_pylist()
        [b'c', None, b'b']
    """
    order = np.argsort(which, kind="stable")
    order = order[np.searchsorted(which[order], 0) :]
    if not len(order):
        return pa.nulls(len(which), pa.binary())
    wanted, starts = np.unique(which[order], return_index=True)
    groups = zip(wanted.tolist(), np.split(order, starts[1:]), strict=True)
    taken = [
        pc.take(column(number), pa.array(rows[group]), memory_pool=POOL) for number, group in groups
    ]
    at = np.full(len(which), -1)
    at[order] = np.arange(len(order))
    return pc.take(joined(taken), pa.array(at, mask=at < 0), memory_pool=POOL)


MOST_BYTES = (1 << 31) - 1
"""Of a column with offsets of 32 bits."""


NO_ERRORS: Mapping[int, SqlllmError] = {}


class Answers:
    """The answers to one task of one model, each at its text's number.

    They come as columns of any size, which are kept on a few parts: what is added is merged with
    what is no larger, up to `PART` bytes. Threads may read and fill at once.

    Example:
        >>> answers = Answers()
        >>> answers.fill(np.array([7, 3]), pa.array([b"seven", b"three"]))
        >>> answers.take(np.array([3, 7])).to_pylist(), answers.missing(np.array([3, 4])).tolist()
        ([b'three', b'seven'], [4])
    """

    PART = 1 << 24  # all in one would be there twice while it is made

    def __init__(self) -> None:
        self.nbytes = 0
        self._at = np.empty(0, np.int32)  # where each number's answer is among the parts; or -1
        self._parts: list[pa.Array] = []
        self._errors: dict[int, SqlllmError] = {}
        self._lock = threading.Lock()

    def missing(self, numbers: Array) -> Array:
        """Those that have neither an answer nor an error."""
        with self._lock:
            self._make_room(numbers)
            missing: Array = numbers[self._at[numbers] < 0]
            return missing

    def fill(
        self, numbers: Array, answers: pa.Array, errors: Mapping[int, SqlllmError] = NO_ERRORS
    ) -> None:
        """Put an answer at each number; of those that are NULL, say why.

        Args:
            numbers: Of which texts.
            answers: As many encoded answers: a binary column.
            errors: Position among these -> why there is no answer.
        """
        with self._lock:
            self._make_room(numbers)
            start = sum(map(len, self._parts))
            self._at[numbers] = np.arange(start, start + len(answers), dtype=np.int32)
            self._errors.update({int(numbers[i]): error for i, error in errors.items()})
            self._parts.append(answers)
            self.nbytes += answers.nbytes + self._at.itemsize * len(answers)
            while len(self._parts) > 1:
                before, last = self._parts[-2:]
                if len(before) > 2 * len(last) or before.nbytes + last.nbytes > self.PART:
                    break
                self._parts[-2:] = [joined([before, last])]

    def take(self, numbers: Array) -> pa.Array:
        """Their answers; NULL where there is an error."""
        if not len(numbers):
            return pa.array([], pa.binary())
        with self._lock:
            at, parts = self._at[numbers], list(self._parts)
        if len(parts) == 1:
            return pc.take(parts[0], pa.array(at), memory_pool=POOL)
        ends = np.cumsum([len(part) for part in parts])
        which = np.searchsorted(ends, at, side="right")
        return picked(which, at - (ends - [len(part) for part in parts])[which], parts.__getitem__)

    def copy(self) -> Answers:
        """Another one with the same answers, so that what is put there is not kept here."""
        made = Answers()
        with self._lock:
            made.nbytes, made._at = self.nbytes, self._at.copy()
            made._parts, made._errors = list(self._parts), dict(self._errors)
        return made

    def errors(self, numbers: Array) -> list[tuple[int, SqlllmError]]:
        """Which of these numbers have one, in order."""
        if not self._errors:
            return []
        return [(n, self._errors[n]) for n in numbers.tolist() if n in self._errors]

    def _make_room(self, numbers: Array) -> None:
        most = int(numbers.max()) + 1 if len(numbers) else 0
        if most > len(self._at):
            more = np.full(max(most, 2 * len(self._at)) - len(self._at), -1, np.int32)
            self._at = np.concatenate([self._at, more])
