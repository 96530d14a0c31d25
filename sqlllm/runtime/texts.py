"""The distinct texts that a statement has read, and which of them each of its chunks has."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.runtime.answers import BLOCK, Array, packed, to_numpy
from sqlllm.runtime.keyindex import KeyIndex
from sqlllm.runtime.keys import KEY, keys_of
from sqlllm.runtime.memory import POOL, give_back

TEXT = pa.large_string()

BEGINNING = 40
"""Characters in which texts begin alike: about as many tokens as are worth reading once."""


class Texts:
    """Distinct texts, numbered in the order in which they come.

    A statement that collects reads every chunk of rows twice, and once more for each further call.
    The second time a chunk is known by a digest of its bytes: no text is looked up, or hashed,
    again.

    Example:
        >>> texts = Texts()
        >>> texts.numbers(pa.array(["a", "b", None, "a"])).tolist()
        [0, 1, -1, 0]
        >>> texts.numbers(pa.array(["c", "b"])).tolist()
        [2, 1]
        >>> texts.column(np.array([2, 0])).to_pylist()
        ['c', 'a']
    """

    # What is numbered at a time: texts that repeat are then hashed less. While it is, it takes
    # several times its memory.
    ROWS, BYTES = 1 << 14, 1 << 23

    def __init__(self) -> None:
        self.nbytes = 0
        self._columns: list[pa.Array] = []
        self._keys: list[Array] = []
        self._count = 0
        self._index = KeyIndex(np.int32)
        self._chunks: dict[bytes, Array] = {}  # the numbers of its rows, by a chunk's digest
        self._waiting: dict[bytes, pa.Array] = {}  # all of one type
        self._type = TEXT
        self._rows = self._bytes = 0  # of the chunks that wait
        self._repeats = False  # whether many of the texts that came last were known
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return self._count

    def note(self, chunk: pa.Array) -> bytes:
        """Keep a chunk, to be numbered with others; its name for `numbers_of`."""
        name = _digest(chunk)
        with self._lock:
            if name not in self._chunks and name not in self._waiting:
                if chunk.type != self._type:
                    self._number()
                self._type = chunk.type
                self._waiting[name] = chunk
                self._rows, self._bytes = self._rows + len(chunk), self._bytes + chunk.nbytes
                if self._rows >= self.ROWS or self._bytes >= self.BYTES:
                    self._number()
        return name

    def numbers_of(self, name: bytes) -> Array:
        """Which text each row of a chunk that was noted has; -1: NULL."""
        with self._lock:
            self._number()
            return self._chunks[name]

    def numbers(self, chunk: pa.Array) -> Array:
        """Which text each row has; -1: NULL. Texts that are new get the next numbers."""
        with self._lock:
            if len(self._columns) == 1 and chunk is self._columns[0]:
                return np.arange(len(chunk), dtype=np.int32)
            return self.numbers_of(self.note(chunk))

    def find(self, chunk: pa.Array) -> Array | None:
        """The same, where all texts are known; else None."""
        with self._lock:
            if len(self._columns) == 1 and chunk is self._columns[0]:
                return np.arange(len(chunk), dtype=np.int32)
            self._number()
            known = self._chunks.get(_digest(chunk))
            if known is not None:
                return known
            distinct, rows = _each_once(chunk.cast(TEXT))
            numbers = self._index.find(keys_of(distinct))
            return None if (numbers < 0).any() else np.append(numbers, -1)[rows]

    def column(self, numbers: Array) -> pa.Array:
        """The texts of these numbers; all of them, in order, without a copy."""
        with self._lock:
            self._number()
            every = self._every()
            if len(numbers) == len(every) and (np.diff(numbers) == 1).all():
                return every
            return pc.take(every, pa.array(numbers), memory_pool=POOL)

    def alike_together(self, numbers: Array) -> Array:
        """The same numbers, those whose texts begin alike one after the other.

        Else they keep their order: texts come where the first that begins like them came.

        Example:
            >>> texts, lamp, sofa = Texts(), "A lamp " + "x" * 40, "A sofa " + "y" * 40
            >>> given = texts.numbers(pa.array([f"{lamp} 1", f"{sofa} 1", "short", f"{lamp} 2"]))
            >>> texts.alike_together(given).tolist()
            [0, 3, 1, 2]
        """
        hashes = np.empty(len(numbers), np.int64)  # a hash takes a fifth of a beginning
        for at in range(0, len(numbers), BLOCK):
            part = self.column(numbers[at : at + BLOCK])
            beginnings = pc.utf8_slice_codeunits(part, 0, BEGINNING).to_pylist()
            hashes[at : at + BLOCK] = list(map(hash, beginnings))
        _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        return numbers[np.argsort(first[which], kind="stable")]

    def keys(self, numbers: Array) -> Array:
        """Their keys: an array of `KEY`."""
        with self._lock:
            if len(self._keys) > 1:
                self._keys = [np.concatenate(self._keys)]
            return self._keys[0][numbers] if self._keys else np.empty(0, KEY)

    def _number(self) -> None:
        """Give numbers to the texts of the chunks that wait."""
        if not self._waiting:
            return
        names, chunks = list(self._waiting), list(self._waiting.values())
        self._waiting.clear()
        self._rows = self._bytes = 0
        whole = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks, memory_pool=POOL)
        distinct, rows = _each_once(whole.cast(TEXT, memory_pool=POOL))
        rows = np.append(self._numbers(distinct), np.int32(-1))[rows]
        self.nbytes += rows.nbytes
        ends = np.cumsum([len(chunk) for chunk in chunks])[:-1]
        self._chunks.update(zip(names, np.split(rows, ends), strict=True))

    def _numbers(self, distinct: pa.Array) -> Array:
        """Which text each of these is."""
        numbers = np.full(len(distinct), -1, np.int32)
        if self._repeats and len(self) <= 4 * len(distinct):  # comparing beats hashing
            numbers[:] = to_numpy(pc.index_in(distinct, value_set=self._every()).fill_null(-1))
        unseen = np.flatnonzero(numbers < 0)
        if not len(unseen):
            return numbers
        fresh = distinct
        if len(unseen) < len(distinct):
            fresh = pc.take(distinct, pa.array(unseen), memory_pool=POOL)
        keys = keys_of(fresh)
        numbers[unseen] = self._index.find(keys)
        new = numbers[unseen] < 0
        self._repeats = int(np.count_nonzero(new)) < 0.75 * len(distinct)
        if new.any():
            fresh = fresh if new.all() else pc.filter(fresh, pa.array(new), memory_pool=POOL)
            numbers[unseen[new]] = np.arange(len(self), len(self) + len(fresh), dtype=np.int32)
            self._index.add(keys[new], len(self))
            self._count += len(fresh)
            self._columns.append(fresh)
            self._keys.append(keys[new])
            self.nbytes += fresh.nbytes + 2 * KEY.itemsize * len(fresh)
        return numbers

    def _every(self) -> pa.Array:
        """All texts, in order."""
        if len(self._columns) > 1:
            give_back()
            self._columns = [_concatenated(self._columns)]
            give_back()
        return self._columns[0] if self._columns else pa.array([], TEXT)


def _each_once(texts: pa.Array) -> tuple[pa.Array, Array]:
    """Each text once, and which of them each row has; -1: NULL."""
    encoded = pc.dictionary_encode(texts, memory_pool=POOL)
    indices = encoded.indices
    return encoded.dictionary, to_numpy(indices.fill_null(-1) if indices.null_count else indices)


def _concatenated(columns: list[pa.Array]) -> pa.Array:
    """One column of several without NULL. They are freed one by one: two copies are too many."""
    parts = [packed(column) for column in columns]
    ends = np.zeros(sum(map(len, columns)) + 1, np.int64)
    data = np.empty(sum(held.nbytes for _, held in parts), np.uint8)
    at = start = 0
    columns.clear()
    while parts:
        last, held = parts.pop(0)
        ends[at : at + len(last)] = last + start
        data[start : start + held.nbytes] = held
        at, start = at + len(last) - 1, start + held.nbytes
    return pa.Array.from_buffers(TEXT, at, [None, pa.py_buffer(ends), pa.py_buffer(data)])


def _digest(texts: pa.Array) -> bytes:
    """16 bytes that differ where a row does."""
    ends, data = packed(texts)
    shape = b"%d %d %d" % (len(texts), texts.null_count, ends.itemsize)
    there = np.packbits(to_numpy(texts.is_valid())).tobytes() if texts.null_count else b""
    # sha256: with the processor's own instructions. One step: at each, threads change places.
    return hashlib.sha256(b"".join((shape, ends.tobytes(), there, data))).digest()[:16]
