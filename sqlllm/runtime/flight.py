"""Inputs on their way to a model: each is computed once, whoever asks and however many ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from sqlllm.errors import SqlllmError
from sqlllm.runtime.answers import Array, joined


@dataclass(slots=True)
class Ticket:
    """One input on its way: once `done`, a row of a column of answers, or an error."""

    key: bytes
    text: str
    answers: pa.Array | None = None
    row: int = 0
    error: SqlllmError | None = None
    done: bool = False
    wanted_by: int = 0

    def land(self, answers: pa.Array, row: int) -> None:
        """Here is its answer."""
        self.answers, self.row, self.done = answers, row, True

    def fail(self, error: SqlllmError) -> None:
        """Here is why there is none."""
        self.error, self.done = error, True


def landed(tickets: Sequence[Ticket]) -> tuple[Array, pa.Array]:
    """The answers of tickets that are done, in the order in which they came: no copy sorts them.

    Returns:
        The place of each answer's ticket, and the answers as a binary column: NULL, at the end,
        where there is an error.

    Example:
        >>> batch = pa.array([b"second", b"first"])
        >>> tickets = [Ticket(b"", "", batch, 1), Ticket(b"", "", batch, 0)]
        >>> places, answers = landed(tickets)
        >>> places.tolist(), answers.to_pylist()
        ([1, 0], [b'second', b'first'])
    """
    columns: dict[int, tuple[pa.Array, list[int], list[int]]] = {}
    failed = []
    for place, ticket in enumerate(tickets):
        if ticket.answers is None:
            failed.append(place)
            continue
        _, rows, of = columns.setdefault(id(ticket.answers), (ticket.answers, [], []))
        rows.append(ticket.row)
        of.append(place)
    places, parts = [], []
    for column, rows, of in columns.values():
        order = np.argsort(rows)
        wanted = np.array(rows)[order]
        whole = len(wanted) == len(column) and (wanted == np.arange(len(column))).all()
        parts.append(column if whole else column.take(pa.array(wanted)))
        places.append(np.array(of)[order])
    if failed:
        parts.append(pa.nulls(len(failed), pa.binary()))
        places.append(np.array(failed))
    return np.concatenate(places), joined(parts)


@dataclass(slots=True)
class _Lane:
    """The waiting inputs of one task on one model, and who computes."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: dict[bytes, Ticket] = field(default_factory=dict)
    users: int = 0


class Flights:
    """Merges the calls of several threads.

    Whoever finds the model free takes all that wait for the same task, its own inputs and those
    of other threads, and computes them as one batch; the others find theirs done when it is
    their turn.

    Args:
        together: Whether inputs of other threads are taken along.
    """

    def __init__(self, *, together: bool = True) -> None:
        self._together = together
        self._lanes: dict[bytes, _Lane] = {}
        self._lock = threading.Lock()

    def fly(
        self,
        lane_key: bytes,
        wanted: Iterable[tuple[bytes, str]],
        compute: Callable[[list[Ticket]], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> list[Ticket]:
        """Tickets for `wanted`, all done.

        Args:
            lane_key: Calls with the same key may be computed together.
            wanted: Key and text of each input.
            compute: Answers a list of tickets, the caller's first. If it raises, the error goes to
                this caller alone, and only if it has tickets that are not done; what other threads
                still want waits for them.
            stopped: Whether the caller was interrupted, asked while another thread computes.

        Raises:
            KeyboardInterrupt: It was.
        """
        with self._lock:
            lane = self._lanes.setdefault(lane_key, _Lane())
            lane.users += 1
            tickets = [lane.waiting.setdefault(key, Ticket(key, text)) for key, text in wanted]
            for ticket in tickets:
                ticket.wanted_by += 1
        try:
            while not lane.lock.acquire(timeout=0.1):
                if stopped():
                    raise KeyboardInterrupt
            try:
                if not all(ticket.done for ticket in tickets):
                    with self._lock:
                        others = lane.waiting.values() if self._together else ()
                        both = {id(t): t for t in (*tickets, *others) if not t.done}
                    try:
                        compute(list(both.values()))
                    except SqlllmError:
                        if not all(ticket.done for ticket in tickets):
                            raise
            finally:
                lane.lock.release()
        finally:
            with self._lock:
                for ticket in tickets:
                    ticket.wanted_by -= 1
                    if ticket.done or not ticket.wanted_by:
                        lane.waiting.pop(ticket.key, None)
                lane.users -= 1
                if not lane.users:
                    self._lanes.pop(lane_key, None)
        return tickets
