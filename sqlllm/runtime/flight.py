"""Inputs on their way to a model: each is computed once, whoever asks and however many ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sqlllm.errors import SqlllmError


@dataclass(slots=True)
class Ticket:
    """One input on its way: an answer, or an error, once `done`."""

    key: bytes
    text: str
    answer: bytes | None = None
    error: SqlllmError | None = None
    done: bool = False
    wanted_by: int = 0


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
    """

    def __init__(self) -> None:
        self._lanes: dict[bytes, _Lane] = {}
        self._lock = threading.Lock()

    def fly(
        self,
        lane_key: bytes,
        wanted: Iterable[tuple[bytes, str]],
        compute: Callable[[list[Ticket]], None],
    ) -> list[Ticket]:
        """Tickets for `wanted`, all done.

        Args:
            lane_key: Calls with the same key may be computed together.
            wanted: Key and text of each input.
            compute: Answers a list of tickets. If it raises, the error goes to this caller
                alone; what other threads still want waits for them.
        """
        with self._lock:
            lane = self._lanes.setdefault(lane_key, _Lane())
            lane.users += 1
            tickets = [lane.waiting.setdefault(key, Ticket(key, text)) for key, text in wanted]
            for ticket in tickets:
                ticket.wanted_by += 1
        try:
            with lane.lock:
                if not all(ticket.done for ticket in tickets):
                    with self._lock:
                        waiting = [t for t in lane.waiting.values() if not t.done]
                    compute(waiting)
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
