"""Distinct texts and their answers, in columns: Python objects take several times the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import SqlllmError

Answer = bytes | SqlllmError
"""An encoded answer, or why there is none."""

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 1 << 14
"""Distinct inputs that are Python objects at a time: enough to fill any device, and what a million
rows take stays what 16,384 take."""


class Texts:
    """Distinct texts, and where each is.

    Args:
        column: Each text once, without NULL; large_string.

    Example:
        >>> texts = Texts(pa.array(["a", "b"], pa.large_string()))
        >>> texts.find(Texts(pa.array(["b", "c"], pa.large_string()))).tolist()
        [1, -1]
    """

    FEW = 8  # times what is wanted: up to there Arrow's own hash table costs less

    def __init__(self, column: pa.Array) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def find(self, wanted: Texts) -> Array:
        """The place of each wanted text; -1 where it isn't among these."""
        if len(self) <= self.FEW * len(wanted):
            found = pc.index_in(wanted.column, self.column)
            return _numpy(found.fill_null(-1)).astype(np.int64)
        hashes, order = self._index
        near = np.searchsorted(hashes, wanted.hashes).clip(max=len(self) - 1)
        places = order[near].astype(np.int64)
        same = pc.equal(self.column.take(pa.array(places)), wanted.column)
        return np.where(_numpy(same), places, -1)

    @cached_property
    def hashes(self) -> Array:
        """A number per text, of 64 bits."""
        return _hashes(self.column)

    @cached_property
    def _index(self) -> tuple[Array, Array]:
        """The hashes in order, and the place of each."""
        hashes = _hashes(self.column)
        order = np.argsort(hashes).astype(np.int32)
        return hashes[order], order


def _numpy(column: pa.Array) -> Array:
    found: Array = column.to_numpy(zero_copy_only=False)
    return found


def _hashes(column: pa.Array) -> Array:
    blocks = (column.slice(at, BLOCK).to_pylist() for at in range(0, len(column), BLOCK))
    return np.fromiter(map(hash, chain.from_iterable(blocks)), np.int64, len(column))


class Sheet:
    """Distinct texts with room for an answer to each.

    Args:
        texts: The texts.
        width: Bytes of each answer where all have the same few, else 0. Those are packed; others
            stay the objects that the cache holds too.
    """

    def __init__(self, texts: pa.Array, width: int) -> None:
        self.texts = Texts(texts)
        self.width = width
        self.filled = np.zeros(len(texts), np.bool_)
        self.errors: dict[int, SqlllmError] = {}
        self._rows: Array = np.empty(len(texts), f"V{width}" if width else object)

    def __len__(self) -> int:
        return len(self.texts)

    def fill(self, places: Array, answers: Sequence[Answer]) -> None:
        """Put an answer at each place."""
        rows: list[Any] = list(answers)
        for i, answer in enumerate(answers):
            if not isinstance(answer, bytes):
                self.errors[int(places[i])] = answer
                rows[i] = bytes(self.width) if self.width else None
        self._rows[places] = np.frombuffer(b"".join(rows), self._rows.dtype) if self.width else rows
        self.filled[places] = True

    def take(self, places: Array) -> pa.BinaryArray:
        """The answers there; NULL where there is none."""
        rows = self._rows[places]
        if not self.width:
            return pa.array(rows, pa.binary())
        ends = pa.py_buffer(np.arange(len(rows) + 1, dtype=np.int32) * self.width)
        data = pa.py_buffer(rows.view(np.uint8))
        column = pa.Array.from_buffers(pa.binary(), len(rows), [None, ends, data])
        if not self.errors:
            return column
        return pc.if_else(pa.array(np.isin(places, list(self.errors))), None, column)

    def then(self, other: Sheet) -> Sheet:
        """One sheet of both."""
        both = Sheet(pa.concat_arrays([self.texts.column, other.texts.column]), self.width)
        both.filled = np.concatenate([self.filled, other.filled])
        both.errors = self.errors | {len(self) + at: e for at, e in other.errors.items()}
        both._rows = np.concatenate([self._rows, other._rows])
        return both


class Answers:
    """The answers to one task of one model, each at its place.

    What is there never moves: another thread may fill it meanwhile.
    """

    def __init__(self, *sheets: Sheet) -> None:
        self.sheets = sheets

    def find(self, texts: pa.Array) -> Array:
        """The place of each text; -1 where it has none."""
        places, start, wanted = np.full(len(texts), -1), 0, Texts(texts)
        for sheet in self.sheets:
            found = sheet.texts.find(wanted)
            places = np.where(found < 0, places, found + start)
            start += len(sheet)
        return places

    def with_room(self, texts: pa.Array, places: Array, width: int) -> tuple[Answers, Array]:
        """These and a place for those texts that have none; the places of all."""
        new = places < 0
        if not new.any():
            return self, places
        sheet = Sheet(texts if new.all() else texts.filter(pa.array(new)), width)
        start = sum(map(len, self.sheets))
        places = places.copy()
        places[new] = np.arange(start, start + len(sheet))
        return Answers(*self.sheets, sheet), places

    def merged(self) -> Answers:
        """The same, with a place for each, on few sheets: each is looked through."""
        sheets = list(self.sheets)
        while len(sheets) > 1 and len(sheets[-2]) <= 2 * len(sheets[-1]):
            last, before = sheets.pop(), sheets.pop()
            if not (before.filled.all() and last.filled.all()):
                return self  # another thread writes there
            sheets.append(before.then(last))
        return Answers(*sheets)

    def filled(self, places: Array) -> Array:
        """Whether there is an answer, or an error, at each place."""
        filled = np.zeros(len(places), np.bool_)
        for sheet, mine, there in self._parts(places):
            filled[mine] = sheet.filled[there]
        return filled

    def fill(self, places: Array, answers: Sequence[Answer]) -> None:
        """Put an answer at each place."""
        for sheet, mine, there in self._parts(places):
            sheet.fill(there, [answers[i] for i in mine.tolist()])

    def take(self, places: Array) -> pa.BinaryArray:
        """The answers there; NULL where there is an error."""
        parts = [(mine, sheet.take(there)) for sheet, mine, there in self._parts(places)]
        if len(parts) == 1:
            return parts[0][1]
        columns = [column for _, column in parts] or [pa.array([], pa.binary())]
        order = np.argsort(np.concatenate([mine for mine, _ in parts] or [places]))
        return pa.concat_arrays(columns).take(pa.array(order))

    def errors(self, places: Array) -> list[tuple[int, SqlllmError]]:
        """Which of these places have one, in order."""
        return sorted(
            (
                (at, sheet.errors[place])
                for sheet, mine, there in self._parts(places)
                if sheet.errors
                for at, place in zip(mine.tolist(), there.tolist(), strict=True)
                if place in sheet.errors
            ),
            key=itemgetter(0),
        )

    def _parts(self, places: Array) -> Iterator[tuple[Sheet, Array, Array]]:
        """Each sheet with some of the places: which of them, and where on the sheet."""
        if len(self.sheets) == 1:
            yield self.sheets[0], np.arange(len(places)), places
            return
        start = 0
        for sheet in self.sheets:
            mine = np.flatnonzero((places >= start) & (places < start + len(sheet)))
            if len(mine):
                yield sheet, mine, places[mine] - start
            start += len(sheet)
