"""Which connection answers an expression: the default one, or that of `using`."""

from __future__ import annotations

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
