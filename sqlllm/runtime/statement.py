"""What one running SQL statement has collected to ask, and has been answered."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.runtime.answers import Answers, Array, Texts
from sqlllm.runtime.memory import give_back
from sqlllm.runtime.usage import Usage, added

Call = tuple[Any, str]
"""A function and its options."""


class Statement:
    """The inputs and answers of one statement on one connection.

    DuckDB hands a UDF 2,048 rows at a time. A statement that the rewriter prepared first collects
    the inputs of a call, then has them answered as one batch, then runs as it was written and
    finds every answer here: also those that failed, and those that no cache kept.

    Args:
        query_id: DuckDB's number of the query.
        limit: Most distinct inputs to collect for a call, and most answers to keep. What goes
            beyond is asked chunk by chunk.
        secret: A key for what must be the same within the statement and tell nothing beyond it;
            None draws one.
    """

    LIMIT = 1 << 18

    def __init__(self, query_id: int, limit: int = LIMIT, secret: bytes | None = None) -> None:
        self.query_id = query_id
        self.limit = limit
        self.secret = secret or secrets.token_bytes(32)
        self.usage: dict[bytes, Usage] = {}
        self._answers: dict[bytes, Answers] = {}
        self._turns: dict[bytes, threading.Lock] = {}
        self.held = 0
        self._gathered: set[bytes] = set()
        self._prepared = False
        self._collected: dict[int, dict[Call, Inputs]] = {}
        self._ahead: dict[Call, _Ahead] = {}
        self._lock = threading.Lock()

    def answers(self, lane: bytes, texts: pa.Array, width: int) -> tuple[Answers, Array]:
        """The answers so far to one task of one model, and the place of each text among them.

        New texts get a place. It is kept, while there is room, where the statement collected
        inputs. Others have a cache, and their failures may be asked again.

        Args:
            lane: The task and the model.
            texts: Distinct, without NULL.
            width: Bytes of each answer, as of `Sheet`.
        """
        known = self._answers.get(lane) or Answers()
        places = known.find(texts)
        if not self._prepared or self.held >= self.limit or (places >= 0).all():
            return known.with_room(texts, places, width)
        with self._lock:
            latest = self._answers.get(lane) or known
            if latest is not known:
                places = latest.find(texts)
            self.held += int((places < 0).sum())
            self._answers[lane], places = latest.merged().with_room(texts, places, width)
            return self._answers[lane], places

    def turn(self, lane: bytes) -> threading.Lock:
        """Held while a call is asked ahead: an equal one, in the other part of a UNION ALL, waits
        and finds the answers. Chunks of rows don't wait, so that they go to the model together."""
        with self._lock:
            return self._turns.setdefault(lane, threading.Lock())

    def rows(self, lane: bytes, rows: int, ahead: int | None) -> int:
        """How many rows to count for a call: each once, also where a gathering query reads twice.

        Args:
            lane: The task and the model.
            rows: The rows at hand.
            ahead: The rows that are asked for ahead of them, or None.
        """
        with self._lock:
            if ahead:
                self._gathered.add(lane)
            if ahead is not None:
                return ahead
            return 0 if lane in self._gathered else rows

    def count(self, lane: bytes, usage: Usage) -> None:
        """Add up what was asked of one task of one model."""
        with self._lock:
            key = (usage.query_id, usage.function, usage.model)
            added(self.usage.setdefault(lane, Usage(*key)), usage)

    def collect(self, number: int, call: Call, texts: pa.Array) -> None:
        """Note the inputs of a call, to be taken by `number`."""
        with self._lock:
            self._prepared = True
            calls = self._collected.setdefault(number, {})
            calls.setdefault(call, Inputs()).add(texts, self.limit)

    def take(self, number: int) -> dict[Call, Inputs]:
        """What was collected under `number`, by call."""
        with self._lock:
            return self._collected.pop(number, {})

    def look_ahead(self, call: Call, inputs: Inputs) -> None:
        """Let inputs be answered as the rows come, some ahead of them."""
        with self._lock:
            self._ahead[call] = _Ahead(inputs.distinct().slice(0, self.limit))

    def ahead(self, call: Call, texts: pa.Array) -> pa.Array | None:
        """What to ask before a chunk is answered: its new texts, and some that will come.

        As many as were asked before, so that at most half of what is asked is never used.
        """
        waiting = self._ahead.get(call)
        if waiting is None:
            return None
        with self._lock:
            return waiting.next(texts)


class _Ahead:
    """Inputs in the order in which their rows will come, and which of them were asked."""

    MOST = 1 << 16

    def __init__(self, texts: pa.Array) -> None:
        self._texts = Texts(texts)
        self._waiting = np.ones(len(texts), np.bool_)

    def next(self, chunk: pa.Array) -> pa.Array | None:
        """The collected texts of the chunk that were not asked, and as many again as were."""
        places = self._texts.find(Texts(pc.unique(chunk.drop_null()).cast(pa.large_string())))
        new = places[places >= 0]
        new = new[self._waiting[new]]
        if not len(new):
            return None
        asked = len(self._waiting) - int(self._waiting.sum())
        self._waiting[new] = False
        coming = np.flatnonzero(self._waiting)[: min(asked, self.MOST)]
        self._waiting[coming] = False
        return self._texts.column.take(pa.array(np.concatenate([new, coming])))


class Inputs:
    """The texts of one call, or lists of them: how many rows, and the distinct ones in order."""

    FEW = 1 << 16  # texts that may repeat each other

    def __init__(self) -> None:
        self.rows = 0
        self.complete = True
        self._chunks: list[pa.Array] = []
        self._held = 0
        self._distinct = 0

    def add(self, texts: pa.Array, limit: int) -> None:
        """Add a chunk; beyond `limit` distinct texts, count its rows only."""
        self.rows += len(texts)
        if self.complete:
            self._chunks.append(_each_once(texts.drop_null()))
            self._held += len(self._chunks[-1])
            if self._held > max(4 * self._distinct, min(self.FEW, limit)):
                self._held = self._distinct = len(self.distinct())
                self.complete = self._held < limit

    def distinct(self) -> pa.Array:
        """Each text once."""
        if len(self._chunks) != 1:
            kind = self._chunks[0].type if self._chunks else TEXT
            self._chunks = [_each_once(pa.chunked_array(self._chunks, kind))]
            if self._held > self.FEW:
                give_back()  # Arrow's hash table took three times the texts
        return self._chunks[0]


TEXT = pa.large_string()


def _each_once(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Distinct texts; lists of texts as they are, since Arrow can't compare them."""
    if not pa.types.is_list(texts.type):
        return pc.unique(texts).cast(TEXT)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


class Statements:
    """The latest statement of each connection; a connection runs one at a time."""

    KEPT = 64  # connections

    def __init__(self) -> None:
        self.explained: set[int] = set()  # connections that only count now
        self.interrupted: set[int] = set()  # connections whose statement should end
        self._latest: OrderedDict[int, Statement] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()

    def of(self, connection_id: int, query_id: int) -> Statement:
        """The statement that runs now; what the one before it on that connection held is freed.

        A query numbered 0 is no statement of DuckDB's: nothing is shared between its calls.
        """
        if not query_id:
            return Statement(0)
        with self._lock:
            found = self._latest.get(connection_id)
            if found is None or found.query_id != query_id:
                secret = self._secret_of(connection_id, query_id)
                found = self._latest[connection_id] = Statement(query_id, secret=secret)
                self._latest.move_to_end(connection_id)
                while len(self._latest) > self.KEPT or self._is_full():
                    self._latest.popitem(last=False)
            return found

    def _secret_of(self, connection_id: int, query_id: int) -> bytes:
        """The same for a statement that was let go while it still runs."""
        number = f"{connection_id} {query_id}".encode()
        return hashlib.blake2b(number, key=self._secret, digest_size=32).digest()

    def _is_full(self) -> bool:
        """Whether statements that may be over hold more than one needs."""
        held = sum(statement.held for statement in self._latest.values())
        return len(self._latest) > 1 and held > 2 * Statement.LIMIT

    def latest(self, connection_id: int) -> Statement:
        """The statement that asked last on that connection."""
        with self._lock:
            return self._latest.get(connection_id) or Statement(0)

    def forget(self, connection_id: int) -> None:
        """Free what the connection's latest statement held, and forget that it was interrupted."""
        with self._lock:
            self._latest.pop(connection_id, None)
            self.interrupted.discard(connection_id)
