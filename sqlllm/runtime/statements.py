"""The running statements of all connections, and which of them are to end."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlllm.runtime.history import History
from sqlllm.runtime.statement import Statement
from sqlllm.runtime.usage import Tally


class Statements:
    """The latest statement of each connection; a connection runs one at a time."""

    KEPT = 64  # connections

    KNOWN = 1024
    """Connections of which it is known where they were called: nobody closes each of them."""

    def __init__(self) -> None:
        self._running: set[int] = set()  # connections that somebody waits for
        self.explained: set[int] = set()  # connections that only count now
        self.interrupted: set[int] = set()  # connections whose statement should end
        self.history = History()
        self._asking: set[int] = set()  # threads that wait for a model
        self.contexts: dict[int, Any] = {}  # OpenTelemetry's, where each connection was called
        self._latest: OrderedDict[int, Statement] = OrderedDict()
        self._tallies: OrderedDict[tuple[int, int], dict[str, Tally]] = OrderedDict()
        self._secret = secrets.token_bytes(32)
        self._lock = threading.RLock()  # to free a statement may run anything

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
                tallies = self._tallies_of(connection_id, query_id)
                ran = self.history.now(connection_id)
                found = Statement(query_id, secret=secret, tallies=tallies, ran=ran)
                self._latest[connection_id] = found
                self._latest.move_to_end(connection_id)
                self._let_go(connection_id)
            return found

    def _let_go(self, newest: int) -> None:
        """Free what the oldest statements hold, but for those that run: they come back to it."""
        idle = [each for each in self._latest if each not in self._running and each != newest]
        for connection_id in idle:
            if len(self._latest) <= self.KEPT and not self._is_full():
                return
            self._latest.pop(connection_id, None)

    @contextmanager
    def running(self, connection_id: int, context: Any) -> Iterator[None]:
        """While a statement of the connection is called from where this is."""
        with self._lock:
            self.contexts.pop(connection_id, None)
            self.contexts[connection_id] = context
            while len(self.contexts) > self.KNOWN:
                del self.contexts[next(iter(self.contexts))]
            self._running.add(connection_id)
        try:
            yield
        finally:
            self._running.discard(connection_id)

    def _tallies_of(self, connection_id: int, query_id: int) -> dict[str, Tally]:
        """Likewise: what was spent stays spent."""
        tallies = self._tallies.setdefault((connection_id, query_id), {})
        self._tallies.move_to_end((connection_id, query_id))
        if len(self._tallies) > 64 * self.KEPT:
            self._tallies.popitem(last=False)
        return tallies

    def _secret_of(self, connection_id: int, query_id: int) -> bytes:
        """The same for a statement that was let go while it still runs."""
        number = f"{connection_id} {query_id}".encode()
        return hashlib.blake2b(number, key=self._secret, digest_size=32).digest()

    def _is_full(self) -> bool:
        """Whether statements that may be over hold more than one needs."""
        held = sum(statement.held for statement in list(self._latest.values()))
        return len(self._latest) > 1 and held > Statement.LIMIT

    def latest(self, connection_id: int) -> Statement:
        """The statement that asked last on that connection."""
        with self._lock:
            return self._latest.get(connection_id) or Statement(0)

    def interrupt(self, connection_id: int) -> bool:
        """Let the connection's statement end after the model's current batch.

        Returns:
            Whether this thread waits for that batch, and ends then, so that it should not be ended
            now and lose it. A second time that is no reason.
        """
        first = connection_id not in self.interrupted
        self.interrupted.add(connection_id)
        return first and threading.get_ident() in self._asking

    def interrupt_all(self) -> None:
        """Let every connection's statement end after the model's current batch."""
        with self._lock:
            self.interrupted.update(self._latest)

    @property
    def ask_something(self) -> bool:
        """Whether any thread waits for a model."""
        return bool(self._asking)

    def waits(self, thread: int) -> bool:
        """Whether a thread waits for a model."""
        return thread in self._asking

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While this thread waits for a model."""
        thread = threading.get_ident()
        self._asking.add(thread)
        try:
            yield
        finally:
            self._asking.discard(thread)

    def forget(self, connection_id: int) -> None:
        """Free what the connection's latest statement held, and forget that it was interrupted."""
        with self._lock:
            self._latest.pop(connection_id, None)
            self.contexts.pop(connection_id, None)
            self.interrupted.discard(connection_id)
