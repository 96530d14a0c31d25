"""A DuckDB connection with planned statements: where rewriting, runtime and UDFs come together."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from sqlllm.errors import first_line
from sqlllm.execution import Execution
from sqlllm.explain import CallPlan, Explanation, counted
from sqlllm.installation import DuckDB, Installation, install_on
from sqlllm.models.base import Model
from sqlllm.rewrite import TEXTUAL, Plan, Statement, plan, rules
from sqlllm.rewrite.drawn import COLLECTING, drawn
from sqlllm.runtime.history import History, Ran
from sqlllm.runtime.runtime import Runtime
from sqlllm.settings import Settings
from sqlllm.sql import definitions
from sqlllm.variables import reads_once, seen

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


_PARAMETER = re.compile(r"[$?]")


def connect(
    database: str = ":memory:",
    *,
    model: str | None = None,
    embed_model: str | None = None,
    models: Mapping[str, Model | str] | None = None,
    on_error: str | None = None,
    rewrite: bool | Collection[str] = True,
    read_only: bool = False,
    config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Connection:
    """Open a database as a planned connection.

    Args:
        database: A file, or `:memory:`.
        model: Default model for everything but embeddings.
        embed_model: Default model for embeddings.
        models: Name -> model or URI.
        on_error: `fail` or `null`.
        rewrite: Whether statements are rewritten before DuckDB sees them, or the names of the
            rules to apply (`sqlllm.rewrite.RULES`).
        read_only: As in `duckdb.connect`.
        config: DuckDB's own configuration, as in `duckdb.connect`.
        **settings: Other fields of `sqlllm.Settings`.

    Raises:
        CatalogTaken: The database has a catalog or schema named `ai`.
        ConfigError: A setting is unknown or wrong.

    Example:
        >>> import sqlllm
        >>> with sqlllm.connect() as db:
        ...     db.execute("SELECT ai.classify('Wrong invoice', ['billing', 'bug'])").fetchone()
        ('billing',)
    """
    given = {"model": model, "embed_model": embed_model, "models": models, "on_error": on_error}
    loaded, on = Settings.load(**given, **settings), rules(rewrite)
    con = duckdb.connect(database, read_only=read_only, config=dict(config or {}))
    try:
        installation = install_on(con, loaded)
    except BaseException:
        con.close()
        raise
    return Connection(con, installation, rewrite=on)


class Connection:
    """DuckDB's connection, with statements rewritten on the way in and errors on the way out.

    `sql`, `execute`, `executemany` and `query` rewrite; `fetch*` and everything else is passed
    through. `sql` returns DuckDB's own lazy relation: what fails while that is fetched arrives as
    `duckdb.InvalidInputException` with the original's text. `execute` raises the original.
    """

    def __init__(
        self, con: DuckDB, installation: Installation, *, rewrite: Collection[str]
    ) -> None:
        self._con = con
        with suppress(duckdb.InvalidInputException):  # in Jupyter, where it has none to switch off
            con.execute("SET enable_progress_bar = false")  # it would write over ours
        ((self._id,),) = con.execute("SELECT current_connection_id()").fetchall()
        self._installation = installation
        self._rewrite = frozenset(rewrite)
        self._execution = Execution(con, self._id, installation)
        self._arguments = {d.name: d.arguments for d in definitions() if d.arguments}

    def sql(self, query: str, **options: Any) -> Any:
        """As `duckdb.DuckDBPyConnection.sql`."""
        return self._planned(seen(self._con.sql), query, lazy=True, **options)

    query = sql

    def execute(self, query: Any, parameters: object = None) -> Self:
        """As `duckdb.DuckDBPyConnection.execute`."""
        self._planned(seen(self._con.execute), query, parameters)
        return self

    def arrow_table(self, query: str, parameters: object = None) -> pa.Table:
        """The rows of a query, asked at once as by `execute`, without a copy as by `sql`."""
        relation = self._planned(seen(self._con.sql), query, params=parameters)
        return pa.table({}) if relation is None else self._execution.guard(relation.to_arrow_table)

    def executemany(self, query: str, parameters: object = None) -> Self:
        """As `duckdb.DuckDBPyConnection.executemany`."""
        self._forget()
        # Only the text: a row of parameters may fail to bind when rows before it have run.
        made = plan(query, self._arguments, self._rewrite & TEXTUAL)
        self._execution.guard(seen(self._con.executemany), made.sql, parameters)
        return self

    def explain(
        self, query: str, parameters: object = None, *, analyze: bool = False
    ) -> Explanation:
        """What a script becomes, which rules fired, and what its calls would ask.

        No model is asked: sources and conditions without calls are read and counted. Tables that
        an earlier statement of the script creates aren't there to be counted.

        Args:
            query: The script.
            parameters: Of the last statement, as for `execute`.
            analyze: Run the script, with all its effects, and add what was asked.

        Example:
            >>> import sqlllm
            >>> db = sqlllm.connect()
            >>> db.execute("CREATE TABLE t AS SELECT 'text ' || i % 3 AS x FROM range(9) r(i)")
            <...>
            >>> print(db.explain("SELECT ai_embed(x) FROM t LIMIT 5"))
            SELECT ai.embed(x) FROM (SELECT * FROM t LIMIT 5) AS t
            -- rules: names, after_limit
            -- call         model   rows  distinct  cached  send  tokens  batches  seconds
            -- ai.embed(x)  minilm     5         3       0     3       6        1        -
            --   after LIMIT
            >>> db.close()
        """
        made = self._plan(query, parameters)
        self._con.extract_statements(made.original)  # DuckDB says what is wrong with it
        calls: list[CallPlan] = []
        statements = made.statements or (Statement(made.sql, made.sql),)
        for i, planned in enumerate(statements, 1):
            given = parameters if i == len(statements) else None
            run = planned
            if analyze and i > 1:  # with what the statements before have made
                run = replace(planned, sql=self._plan(planned.original, given).sql)
            with self._counting():
                found = counted(seen(self._con.sql), run.original, given, self._columns)
            calls += self._analyzed(found, run, given) if analyze else found
        return Explanation(
            **{f.name: getattr(made, f.name) for f in fields(made)}, calls=tuple(calls)
        )

    def report(self, path: str | Path, *, samples: int = 5, texts: bool = False) -> None:
        """Write what this database's connections have asked as one page of HTML.

        It has the latest 1,000 statements that asked something: as they were written and as DuckDB
        got them, rows, inputs, tokens, time, cost, errors, models and some answers. An earlier
        report is replaced; it needs no network and no other file.

        Args:
            path: The file.
            samples: Most distinct answers shown per call, 0 to 10, each cut to 80 characters. With
                0, what error messages quote is left out too.
            texts: Whether the beginning (80 characters) of the text that each answer or error is
                about stands beside it.

        Raises:
            ConfigError: There is a folder, or a file that is no report, or no folder to write in.

        Example:
            >>> import pathlib, sqlllm, tempfile
            >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
            >>> fake = sqlllm.FakeModel(lambda task, text: text.upper())
            >>> with sqlllm.connect(models={"fake": fake}, model="fake") as db:
            ...     _ = db.execute("SELECT ai.complete('hello')")
            ...     db.report(path)
            >>> "ai.complete(&#x27;hello&#x27;)" in path.read_text()
            True
        """
        from sqlllm.report.content import of_session
        from sqlllm.report.file import check, write

        check(Path(path), samples)
        write(Path(path), of_session(self.runtime, samples=samples, texts=texts))

    def _analyzed(
        self, calls: list[CallPlan], statement: Statement, parameters: object
    ) -> list[CallPlan]:
        """Run a statement; its calls, with what each asked."""
        self._execution.statement(seen(self._con.execute), statement, parameters)
        while self._execution.guard(self._con.fetchmany, 10_000):
            pass
        usage = self.runtime.statements.latest(self._id).usage
        return [replace(c, actual=usage.get(bytes.fromhex(c.lane))) for c in calls]

    def _plan(self, query: str, parameters: object = None, *, lazy: bool = False) -> Plan:
        columns = partial(self._columns, parameters=parameters)
        on = self._rewrite & TEXTUAL if reads_once(query) else self._rewrite
        made = plan(query, self._arguments, on, columns=columns, lazy=lazy)
        view = None if COLLECTING.isdisjoint(made.fired) else drawn(query, self._views())
        if view is None:
            return made
        made = plan(query, self._arguments, on - COLLECTING, columns=columns, lazy=lazy)
        note = f"asked in chunks: the view {view} gives other rows each time it is read"
        return replace(made, notes=(*made.notes, note))

    def _views(self) -> dict[str, str]:
        """The user's views and what they say."""
        views = "SELECT lower(view_name), sql FROM duckdb_views() WHERE NOT internal"
        try:
            return dict(self._con.sql(views).fetchall())
        except duckdb.Error:  # a transaction that has failed answers nothing
            return {}

    def _again(
        self, statement: Statement, *, ran: Ran, script: Plan, parameters: object, lazy: bool
    ) -> Statement:
        """A statement of a script, planned with what those before it have made and set."""
        first, last = script.statements[0], script.statements[-1]
        if statement is first:
            ran.fired, ran.notes = (), ()
        given = parameters if statement is last else None
        made = self._plan(statement.original, given, lazy=lazy and statement is last)
        ran.sql = ran.sql.replace(statement.sql, made.sql, 1)
        ran.fired = tuple(dict.fromkeys((*ran.fired, *made.fired)))
        ran.notes = (*ran.notes, *made.notes)
        return Statement(statement.original, made.sql)

    def plan(self, query: str) -> Plan:
        """What a script without parameters becomes; nothing is run or counted."""
        return self._plan(query)

    @property
    def refused(self) -> frozenset[str]:
        """Statements as the rules made them that DuckDB could not bind: they run as written."""
        return self._execution.refused

    @refused.setter
    def refused(self, statements: frozenset[str]) -> None:
        self._execution.refused = statements

    @property
    def runtime(self) -> Runtime:
        """What answers the calls: models, cache and ledger."""
        return self._installation.runtime

    def cursor(self) -> Connection:
        """Another connection to the same database, for another thread."""
        return Connection(self._con.cursor(), self._installation, rewrite=self._rewrite)

    def width(self, model: str | None = None) -> int | None:
        """Numbers in a vector of `ai.embed`, by the model named or the default one.

        None where that is not known before the model is loaded.
        """
        return self.runtime.width(model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def interrupt(self) -> None:
        """As `duckdb.DuckDBPyConnection.interrupt`; a model stops after its current batch."""
        self.runtime.statements.interrupt(self._id)
        self._con.interrupt()

    def close(self) -> None:
        """As `duckdb.DuckDBPyConnection.close`."""
        self._forget()
        self.runtime.ledger.flush()
        self._con.close()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """While calls are counted, and none may ask a model."""
        explained = self.runtime.statements.explained
        self.history.end(self._id)
        explained.add(self._id)
        try:
            yield
        finally:
            explained.discard(self._id)

    @property
    def history(self) -> History:
        """The latest statements that asked a model, of all connections to this database."""
        return self.runtime.statements.history

    def _forget(self) -> None:
        """Free the answers that the statement before held."""
        self.runtime.statements.forget(self._id)
        self.history.end(self._id)

    def __getattr__(self, name: str) -> Any:
        if name == "_con":  # `copy` and `pickle` look before there is one
            raise AttributeError(name)
        member = getattr(self._con, name)
        if not callable(member):
            return member
        call = member if name.startswith("fetch") else seen(member)  # `from_query` reads variables
        return lambda *args, **options: self._execution.guard(call, *args, **options)

    def _columns(self, query: str, parameters: object = None) -> list[str] | None:
        """The names of a query's columns; it is bound, not run."""
        given = parameters if _PARAMETER.search(query) else None
        try:
            bound = seen(self._con.sql)(query, params=given)
        except duckdb.Error:
            return None
        return list(bound.columns)

    def _planned(
        self, call: Callable[..., Any], query: Any, *args: Any, lazy: bool = False, **options: Any
    ) -> Any:
        self._forget()
        if not isinstance(query, str):
            return self._execution.guard(call, query, *args, **options)
        parameters = args[0] if args else options.get("params")
        made = self._plan(query, parameters, lazy=lazy)
        ran = Ran(made.original, made.sql, made.fired, made.notes)
        self.history.begin(self._id, ran)
        again = partial(self._again, ran=ran, script=made, parameters=parameters, lazy=lazy)
        try:
            return self._execution.script(made, again, call, *args, **options)
        except BaseException as error:
            ran.error = first_line(error) or type(error).__name__
            self._forget()  # it is not read on, and its errors' tracebacks hold the user's frames
            raise
