"""How planned statements run: as rewritten, else as written, with the errors of their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import duckdb

from sqlllm.installation import DuckDB, Installation
from sqlllm.interrupt import on_interrupt
from sqlllm.rewrite import Plan, Statement
from sqlllm.runtime import trace
from sqlllm.runtime.statements import Statements
from sqlllm.variables import seen

# Raised before anything ran: the statement could not be parsed or bound.
_UNBOUND = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.NotImplementedException,
)

_AS_COLUMN = "make the call a column first: FROM (SELECT *, ai.…(x) AS answer FROM t)"
HINTS = {
    # A call stands where only an expression without side effects may.
    "but the expression has side effects": _AS_COLUMN,
    "window expressions cannot be volatile": _AS_COLUMN,
    "Macro prompt() does not support": (
        "ai.prompt takes at most eight values; give more as a struct: ai.prompt('{x}', {x: ...})"
    ),
}
"""What to write instead, by words in DuckDB's message."""


class Execution:
    """Runs statements on one DuckDB connection.

    Args:
        con: The connection.
        connection_id: DuckDB's number of it.
        installation: The functions of its database.

    Attributes:
        refused: Statements as the rules made them that DuckDB could not bind.
    """

    def __init__(self, con: DuckDB, connection_id: int, installation: Installation) -> None:
        self.refused: frozenset[str] = frozenset()
        self._con, self._id, self._installation = con, connection_id, installation

    def script(
        self,
        made: Plan,
        again: Callable[[Statement], Statement],
        call: Callable[..., Any],
        *args: Any,
        **options: Any,
    ) -> Any:
        """Run a planned script; of the last statement, what `call`, a method of DuckDB's, gives.

        `again` plans a statement when those before it have run: they may have made a table of the
        same name with other columns, or changed the schema or a setting.
        """
        several = len(made.statements) > 1
        if not several and not made.rewritten:
            return self.guard(call, made.sql, *args, **options)
        try:  # with a syntax error no statement runs
            found = len(self._con.extract_statements(made.original))
        except duckdb.ParserException:
            if made.rewritten:
                raise
            found = 0
        if found < len(made.statements) and not made.rewritten:
            return self.guard(call, made.sql, *args, **options)  # DuckDB splits or refuses it
        *before, last = made.statements
        for statement in before:
            self.statement(seen(self._con.execute), again(statement))
            while self.guard(self._con.fetchmany, 10_000):
                pass  # DuckDB computes some of a result only then
        return self.statement(call, again(last) if several else last, *args, **options)

    def statement(
        self, call: Callable[..., Any], statement: Statement, *args: Any, **options: Any
    ) -> Any:
        """Run one statement as it was rewritten; where DuckDB can't bind that, as it was written.

        One at a time: nothing of a statement has run when it can't be bound, but statements
        before it have.
        """
        if statement.sql == statement.original or statement.sql in self.refused:
            return self.guard(call, statement.original, *args, **options)
        try:
            return self.guard(call, statement.sql, *args, **options)
        except _UNBOUND as error:
            self.refused |= {statement.sql}
            unbound = error.with_traceback(None)  # which would hold this frame
        except duckdb.Error as error:
            raise _without_line(error) from None
        try:  # the user's own text says what is wrong with it, or runs as it stands
            return self.guard(call, statement.original, *args, **options)
        except _UNBOUND:
            self.refused -= {statement.sql}  # it was not the rules: it won't come again
            raise
        except duckdb.TransactionException as error:
            if "aborted" not in str(error):
                raise
            raise _without_line(unbound) from None  # DuckDB 2.0 has ended the user's transaction

    def guard(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call DuckDB: Ctrl-C ends what a model does, too, and errors of our own arrive as such."""
        statements = self._installation.runtime.statements
        with self._installation.listening():
            return self._guarded(statements, call, *args, **options)

    def _guarded(
        self, statements: Statements, call: Callable[..., Any], *args: Any, **options: Any
    ) -> Any:
        try:
            with (
                statements.running(self._id, trace.context()),
                on_interrupt(lambda: statements.interrupt(self._id)),
            ):
                return call(*args, **options)
        except (duckdb.Error, RuntimeError) as error:
            if self._id in statements.interrupted:
                statements.interrupted.discard(self._id)
                raise KeyboardInterrupt from error
            original = self._installation.original(error)
            if original is not None:
                try:
                    raise original from error
                finally:
                    del original  # its traceback holds this frame
            hint = next((hint for words, hint in HINTS.items() if words in str(error)), None)
            if hint is None:
                raise
            msg = f"{error}\nHint: {hint}"
            raise type(error)(msg) from None


def _without_line(error: duckdb.Error) -> duckdb.Error:
    """The error without the line that it points to, where the user wrote another."""
    message, line, _ = str(error).partition("\n\nLINE ")
    return type(error)(message) if line else error
