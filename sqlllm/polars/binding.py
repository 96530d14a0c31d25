"""Which connection answers an expression: the default one, or that of `using`."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache

from sqlllm.connection import Connection, connect

USED: ContextVar[Connection | None] = ContextVar("sqlllm_polars_used", default=None)
"""That of the innermost `with using(...)`."""


def connection() -> Connection:
    """The connection that answers what is written here: that of `using`, or the default one.

    `connection().sql("FROM ai.usage WHERE this_session")` says what was asked. The default one is
    opened once, by `sqlllm.connect()`.
    """
    return USED.get() or default()


@cache
def default() -> Connection:
    """The connection of whoever names none, opened when it is first needed."""
    return connect()


def bound(db: Connection | None) -> Callable[[], Connection]:
    """Gives the connection to what Polars holds, until the process ends; None: the default one.

    Polars lets go of it later or never, and DuckDB prints a list of what it then calls leaks.
    """
    if db is None:
        return default
    held = [db]

    def connection() -> Connection:
        return held[0]

    weakref.finalize(connection, held.clear)  # at exit, too
    return connection
