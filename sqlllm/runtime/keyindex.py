"""Where each key's answer is: which block, and which row of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sqlllm.runtime.answers import Array


@dataclass(frozen=True, slots=True)
class _Run:
    """Keys by their first 8 bytes, in order, and where their answers are; as columns."""

    high: Array
    low: Array
    block: Array
    row: Array

    def __len__(self) -> int:
        return len(self.high)

    def ordered(self) -> _Run:
        order = np.argsort(self.high, kind="stable")
        return _Run(self.high[order], self.low[order], self.block[order], self.row[order])

    def then(self, other: _Run) -> _Run:
        pairs = zip(self._columns(), other._columns(), strict=True)
        return _Run(*(np.concatenate(pair) for pair in pairs)).ordered()

    def _columns(self) -> tuple[Array, ...]:
        return self.high, self.low, self.block, self.row


class KeyIndex:
    """Keys in order, on a few sorted runs: what is added is merged with what is no larger.

    Keys are told apart by their first 8 bytes, and confirmed by the other 8. Of two keys with equal
    first bytes, which nobody will meet, one is not found.

    Example:
        >>> from sqlllm.runtime.keys import KEY
        >>> index, keys = KeyIndex(), np.array([(3, 1), (2, 1)], KEY)
        >>> index.add(keys, block=7)
        >>> blocks, rows = index.find(np.array([(2, 1), (2, 9)], KEY))
        >>> blocks.tolist(), rows.tolist()
        ([7, -1], [1, -1])
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: Array, block: int) -> None:
        """Note that a block holds these, in order."""
        count = len(keys)
        places = np.full(count, block, np.int64), np.arange(count, dtype=np.int32)
        self._runs.append(_Run(keys["high"].copy(), keys["low"].copy(), *places).ordered())
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(before.then(last))

    def find(self, keys: Array) -> tuple[Array, Array]:
        """The block and the row of each key; -1 where there is none."""
        blocks, rows = np.full(len(keys), -1, np.int64), np.full(len(keys), -1, np.int32)
        high, low = keys["high"].copy(), keys["low"]
        order = np.argsort(high)  # neighbours are then looked for in the same place
        high, low = high[order], low[order]
        for run in self._runs:
            at = np.searchsorted(run.high, high)
            at[at == len(run)] = 0
            same = np.flatnonzero(run.high[at] == high)
            same = same[run.low[at[same]] == low[same]]
            place, found = at[same], order[same]
            blocks[found], rows[found] = run.block[place], run.row[place]
        return blocks, rows

    def move(self, moved: dict[int, tuple[int, int]]) -> None:
        """Blocks became part of others: old -> the new block, and the row where it begins there."""
        for run in self._runs:
            for old in np.intersect1d(run.block, list(moved)).tolist():
                mine = run.block == old
                new, start = moved[old]
                run.block[mine] = new
                run.row[mine] += start
