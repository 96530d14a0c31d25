"""What one running SQL statement has collected to ask, and has been answered."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from sqlllm.runtime.answers import Answers, Array
from sqlllm.runtime.collected import Ahead, Inputs, Lists
from sqlllm.runtime.history import Ran
from sqlllm.runtime.texts import Texts
from sqlllm.runtime.usage import Tally, Usage, added

Call = tuple[Any, str]
"""A function and its options."""

RETURNING = frozenset({"candidates", "early_stop", "search", "gather"})
"""The rules whose queries come back to an input: they read a view twice, or ask in rounds."""


class Statement:
    """The inputs and answers of one statement on one connection.

    DuckDB hands a UDF 2,048 rows at a time. A statement that the rewriter prepared first collects
    the inputs of a call, then has them answered as one batch, then runs as it was written and
    finds every answer here: also those that failed, and those that no cache kept.

    Args:
        query_id: DuckDB's number of the query.
        secret: A key for what must be the same within the statement and tell nothing beyond it;
            None draws one.
        tallies: What was spent of the budget per query, under "", and of each model's cap.
        ran: What the history has of it.
    """

    LIMIT = 1 << 28
    """Bytes of texts from which on no more are kept, and bytes of answers likewise. What goes
    beyond is asked chunk by chunk."""

    def __init__(
        self,
        query_id: int,
        secret: bytes | None = None,
        tallies: dict[str, Tally] | None = None,
        ran: Ran | None = None,
    ) -> None:
        self.ran = ran
        self.tallies = {} if tallies is None else tallies
        self.query_id = query_id
        self.secret = secret or secrets.token_bytes(32)
        self.usage: dict[bytes, Usage] = {}
        self._texts = Texts()
        self._answers: dict[bytes, Answers] = {}
        self._turns: dict[bytes, threading.Lock] = {}
        self._gathered: set[bytes] = set()
        self._prepared = ran is not None and not RETURNING.isdisjoint(ran.fired)
        self._collected: dict[int, dict[Call, Inputs | Lists]] = {}
        self._ahead: dict[Call, dict[Call, Ahead]] = {}
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of texts and answers."""
        return self._texts.nbytes + self._answered

    @property
    def texts_full(self) -> bool:
        """Whether no more texts are kept."""
        return self._texts.nbytes >= self.LIMIT

    @property
    def answers_full(self) -> bool:
        """Whether no more answers are kept, and none is asked ahead of its rows."""
        return self._answered >= self.LIMIT

    @property
    def _answered(self) -> int:
        return sum(each.nbytes for each in list(self._answers.values()))

    def place(
        self, lane: bytes, inputs: pa.Array, *, ahead: bool = False
    ) -> tuple[Texts, Answers, Array]:
        """Where the answers to one task of one model are, and the number of each row's text; -1:
        NULL.

        They are kept where the statement was rewritten to come back to them or collected inputs,
        while there is room, and where they are asked ahead of their rows. Others have a cache, and
        their failures may be asked again.
        """
        if self._prepared:
            numbers = self._texts.find(inputs) if self.texts_full else self._texts.numbers(inputs)
            if numbers is not None:
                with self._lock:
                    answers = self._answers.setdefault(lane, Answers())
                if not ahead and self.answers_full:
                    answers = answers.copy()
                return self._texts, answers, numbers
        texts = Texts()
        return texts, Answers(), texts.numbers(inputs)

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
        if self.ran is not None:
            self.ran.count(usage)

    def collect(self, number: int, call: Call, inputs: pa.Array) -> None:
        """Note the inputs of a call, texts or lists of them, to be taken by `number`."""
        with self._lock:
            self._prepared = True
            calls = self._collected.setdefault(number, {})
            kind = Lists() if pa.types.is_list(inputs.type) else Inputs(self._texts)
            collected = calls.setdefault(call, kind)
            collected.rows += len(inputs)
            if not self.texts_full:
                collected.add(inputs)

    def take(self, number: int) -> dict[Call, Inputs | Lists]:
        """What was collected under `number`, by call."""
        with self._lock:
            return self._collected.pop(number, {})

    def look_ahead(self, calls: Mapping[Call, Inputs | Lists], *, together: bool) -> None:
        """Let inputs be answered as the rows come, some ahead of them.

        Args:
            calls: What was collected of each.
            together: Whether all are asked as soon as one is.
        """
        with self._lock:
            every = {
                call: Ahead(self._texts, inputs.numbers())
                for call, inputs in calls.items()
                if isinstance(inputs, Inputs)
            }
            for call, waiting in every.items():
                self._ahead[call] = every if together else {call: waiting}

    def ahead(self, call: Call, chunk: pa.Array) -> dict[Call, pa.Array]:
        """What to ask before a chunk is answered: its new texts, and some that will come.

        As many as were asked before, so that at most half of what is asked is never used. Of the
        calls that are asked together, all have texts here, if this one has.
        """
        every = self._ahead.get(call)
        if every is None:
            return {}
        with self._lock:
            own = every[call].next(chunk)
            if own is None:
                return {}
            others = {c: waiting.next(chunk) for c, waiting in every.items() if c != call}
        return {call: own, **{c: found for c, found in others.items() if found is not None}}
