"""The number of each key."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sqlllm.runtime.answers import Array

SPAN = 1 << 32
"""Numbers of a block: it begins at a multiple of this."""


class _Run(NamedTuple):
    """Keys by their first 8 bytes, in order, and their numbers; as columns."""

    high: Array
    low: Array
    number: Array

    def ordered(self) -> _Run:
        order = np.argsort(self.high, kind="stable")
        return _Run(*(column[order] for column in self))

    def then(self, other: _Run) -> _Run:
        return _Run(*map(np.concatenate, zip(self, other, strict=True))).ordered()


class KeyIndex:
    """Keys in order, on a few sorted runs: what is added is merged with what is no larger.

    Args:
        number: The type of its numbers.

    Keys are told apart by their first 8 bytes, and confirmed by the other 8. Of two keys with equal
    first bytes, which nobody will meet, one is not found.

    Example:
        >>> from sqlllm.runtime.keys import KEY
        >>> index = KeyIndex()
        >>> index.add(np.array([(3, 1), (2, 1)], KEY), start=70)
        >>> index.find(np.array([(2, 1), (2, 9)], KEY)).tolist()
        [71, -1]
    """

    def __init__(self, number: type[np.integer[Any]] = np.int64) -> None:
        self._number = number
        self._runs: list[_Run] = []

    def add(self, keys: Array, start: int) -> None:
        """Number these, in order, from `start` on."""
        numbers = np.arange(start, start + len(keys), dtype=self._number)
        self._runs.append(_Run(keys["high"].copy(), keys["low"].copy(), numbers).ordered())
        while len(self._runs) > 1 and self._runs[-2].high.size <= 2 * self._runs[-1].high.size:
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(before.then(last))

    def find(self, keys: Array) -> Array:
        """The number of each key; -1 where there is none."""
        numbers = np.full(len(keys), -1, self._number)
        high, low = keys["high"].copy(), keys["low"]
        order = np.argsort(high)  # neighbours are then looked for in the same place
        high, low = high[order], low[order]
        for run in self._runs:
            at = np.searchsorted(run.high, high)
            at[at == run.high.size] = 0
            same = np.flatnonzero(run.high[at] == high)
            same = same[run.low[at[same]] == low[same]]
            numbers[order[same]] = run.number[at[same]]
        return numbers

    def move(self, moved: dict[int, int]) -> None:
        """Blocks became part of others: the number where each began -> where it begins now."""
        for run in self._runs:
            starts = run.number // SPAN * SPAN
            for old in np.intersect1d(starts, list(moved)).tolist():
                run.number[starts == old] += moved[old] - old
