"""What the shell does with what is typed: it runs it, and prints what comes of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import duckdb

from sqlllm.cli import dots, output
from sqlllm.cli.catalog import read
from sqlllm.cli.completion import Catalog
from sqlllm.cli.typed import LEAVE, pieces
from sqlllm.errors import SqlllmError
from sqlllm.html import VISIBLE
from sqlllm.interrupt import end_query, stopping
from sqlllm.jobs.asked import Counts
from sqlllm.jobs.result import save
from sqlllm.jobs.script import Step, steps

if TYPE_CHECKING:
    from sqlllm.connection import Connection

STOPPING = "stopping after the model's current batch"


class Session:
    """Runs statements and commands on one connection.

    Args:
        db: The connection.
        talks: Whether somebody is there to be told how long it took and what was asked.

    Attributes:
        mode: `table`, `markdown`, `csv` or `json`.
        rows: Most rows of a table.
    """

    LATE = 1.0  # seconds after Ctrl-C, when the user is told what goes on

    def __init__(self, db: Connection, *, talks: bool) -> None:
        self.db = db
        self.talks = talks
        self.mode = "table"
        self.rows = 40
        self._catalog: Catalog | None = None
        ((self._id,),) = db.execute("SELECT current_connection_id()").fetchall()

    def run(self, text: str) -> bool:
        """Run a script; False where an error was printed, or Ctrl-C came.

        Raises:
            EOFError: The user leaves.
        """
        late = threading.Timer(self.LATE, self.say, (STOPPING, "yellow"))
        late.daemon = True

        def stop() -> None:
            end_query(self.db)
            if not late.ident:
                late.start()

        try:
            with stopping(stop):
                self.script(text)
        except EOFError:
            raise
        except KeyboardInterrupt:
            self.say("interrupted; what was answered is kept", "yellow")
        except (SqlllmError, duckdb.Error, OSError) as error:
            self.say(str(error), "red")
        except Exception as error:
            self.say(f"{type(error).__name__}: {error}", "red")
        else:
            return True
        finally:
            late.cancel()
        return False

    def script(self, text: str) -> None:
        """Run statements and commands until one fails."""
        for piece in pieces(text):
            if piece.startswith(".") or piece.rstrip(";").lower() in LEAVE:
                with output.while_read():
                    dots.run(self, piece)
                continue
            for step in steps(self.db, piece):
                with output.while_read():
                    self._step(step)

    def show(self, query: str) -> None:
        """Print the rows of a query of our own."""
        for step in steps(self.db, query):
            self._rows(step)

    def say(self, text: str, style: str) -> None:
        """A line for the user, on standard error; plain where that is no terminal."""
        from rich.console import Console
        from rich.text import Text

        line = (text if self.talks else f"sqlllm: {text}").translate(VISIBLE)
        Console(stderr=True).print(Text(line, style), soft_wrap=True)

    def catalog(self) -> Catalog:
        """What a statement can name now."""
        if self._catalog is None:
            try:
                self._catalog = read(self.db)
            except duckdb.Error:  # a transaction that has failed answers nothing
                return Catalog({}, {})
        return self._catalog

    def _step(self, step: Step) -> None:
        started = time.monotonic()
        if step.kind not in ("SELECT", "EXPLAIN"):
            self._catalog = None
        what = self._run(step)
        if self.talks:
            took = f"{what} in {time.monotonic() - started:.1f} s"
            self.say(" · ".join(filter(None, (took, self._asked()))), "dim")

    def _run(self, step: Step) -> str:
        """Run a statement and print its rows; what there is to say about them."""
        if step.has_rows and not (step.kind == "EXPLAIN" and self.mode == "table"):
            return _count(self._rows(step))
        rows = self.db.execute(step.text).fetchall()
        if step.kind == "EXPLAIN":
            print("\n".join(text for *_, text in rows).rstrip())
            return "explained"
        names = [column[0] for column in self.db.description or ()]
        return _count(rows[0][0]) if names == ["Count"] and rows else "done"

    def _rows(self, step: Step) -> int:
        rest = "`.mode csv` shows all, `.rows N` more rows"
        with output.on_stdout() as path:
            return save(
                self.db, step, path, self.mode, screen=output.screen(), shown=self.rows, rest=rest
            )

    def _asked(self) -> str:
        """What the statement has asked of models."""
        total = Counts.of(self.db.runtime.statements.latest(self._id).usage.values())
        if not total.distinct_inputs:
            return ""
        line = (
            f"{total.distinct_inputs:,} inputs, {total.cached:,} cached, {total.sent:,} sent, "
            f"{total.tokens:,} tokens"
        )
        return line + (f", {total.errors:,} failed (FROM ai.errors)" if total.errors else "")


def _count(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"
