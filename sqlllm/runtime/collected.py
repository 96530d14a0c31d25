"""What a statement has collected of a call, and in which order it is asked."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.runtime.answers import Array
from sqlllm.runtime.texts import Texts


class Inputs:
    """The texts of one call: how many rows, and which chunks."""

    def __init__(self, texts: Texts) -> None:
        self.rows = 0
        self._texts = texts
        self._chunks: list[bytes] = []

    def add(self, chunk: pa.Array) -> None:
        """Add a chunk of rows."""
        self._chunks.append(self._texts.note(chunk))

    def numbers(self) -> Array:
        """The numbers of the distinct texts, in order."""
        noted = [self._texts.numbers_of(chunk) for chunk in self._chunks]
        there = np.zeros(len(self._texts) + 1, np.bool_)
        for numbers in noted:
            there[numbers] = True
        return np.flatnonzero(there[:-1]).astype(np.int32)  # NULL, -1, is the last

    def distinct(self) -> pa.Array:
        """Each text once."""
        return self._texts.column(self.numbers())


class Lists:
    """The lists of one call: how many rows, and all of them, since Arrow can't compare lists."""

    def __init__(self) -> None:
        self.rows = 0
        self._chunks: list[pa.Array] = []

    def add(self, chunk: pa.Array) -> None:
        """Add a chunk of rows."""
        self._chunks.append(chunk.drop_null())

    def distinct(self) -> pa.Array:
        """Every list."""
        return pa.chunked_array(self._chunks).combine_chunks() if self._chunks else NO_LISTS


NO_LISTS = pa.array([], pa.list_(pa.string()))


class Ahead:
    """Texts in the order in which their rows will come, and which of them were asked."""

    MOST = 1 << 16

    def __init__(self, texts: Texts, numbers: Array) -> None:
        self._texts = texts
        self._coming = numbers
        self._waiting = np.zeros(len(texts), np.bool_)
        self._waiting[numbers] = True
        self._asked = 0

    def next(self, chunk: pa.Array) -> pa.Array | None:
        """The collected texts of the chunk that were not asked, and as many again as were."""
        numbers = self._texts.find(chunk)
        if numbers is None:
            return None
        new = np.unique(numbers[(numbers >= 0) & (numbers < len(self._waiting))])
        new = new[self._waiting[new]]
        if not len(new):
            return None
        self._waiting[new] = False
        self._coming = self._coming[self._waiting[self._coming]]
        more = self._coming[: min(self._asked, self.MOST)]
        self._waiting[more] = False
        asked = np.concatenate([new, more])
        self._asked += len(asked)
        return self._texts.column(asked)
