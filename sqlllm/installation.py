"""The functions of one DuckDB instance: registered once, for as long as the process lives."""

from __future__ import annotations

import atexit
import threading
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import Any

import duckdb

from sqlllm.errors import CatalogTaken, ConfigError
from sqlllm.function import heard
from sqlllm.locks import shared_lock
from sqlllm.models.base import Model
from sqlllm.runtime.runtime import Runtime
from sqlllm.settings import Settings
from sqlllm.sql import definitions
from sqlllm.udfs import FUNCTIONS
from sqlllm.views import VIEWS

DuckDB = duckdb.DuckDBPyConnection


class Installation:
    """What the UDFs of one DuckDB instance reach: the runtime, and the latest exceptions."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.raised: deque[BaseException] = deque(maxlen=32)
        self.functions: list[Callable[..., Any]] = []
        self._listeners = 0
        self._lock = threading.RLock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While somebody waits who can be told what a UDF raised.

        What is raised for others is not kept, nor what is left afterwards: a traceback holds the
        frames of all callers, up to the user's, with what is in them.
        """
        with self._lock:
            self._listeners += 1
        try:
            yield
        finally:
            with self._lock:
                self._listeners -= 1
                left = self.raised
                if not self._listeners:
                    self.raised = deque(maxlen=32)
            del left  # without the lock: what is freed may run anything

    def heard(self, error: BaseException) -> None:
        """A UDF raised this."""
        if self._listeners:
            self.raised.append(error)

    def original(self, error: Exception) -> BaseException | None:
        """The exception inside a UDF that DuckDB passed on as text."""
        text = str(error)
        for exception in reversed(list(self.raised)):
            if f"{type(exception).__name__}: {exception}" in text:
                with suppress(ValueError):  # another thread was faster
                    self.raised.remove(exception)  # its traceback will hold the user's frames
                return exception
        return None


def install(
    con: DuckDB,
    *,
    model: str | None = None,
    embed_model: str | None = None,
    models: Mapping[str, Model | str] | None = None,
    on_error: str | None = None,
    **settings: Any,
) -> DuckDB:
    """Add the functions of the catalog `ai` to any DuckDB connection.

    Every connection and cursor to the same database in this process sees them. Nothing is
    written into the user's file. Installing again on the same database changes the settings and
    keeps `ai.usage`. Budgets, caps, `allow_models` and the audit log stay as they were where the
    new call says nothing about them; `allow_remote` must be said again.

    Args:
        con: The connection.
        model: Default model for everything but embeddings.
        embed_model: Default model for embeddings.
        models: Name -> model or URI.
        on_error: `fail` or `null`.
        **settings: Other fields of `sqlllm.Settings`.

    Returns:
        `con`.

    Raises:
        CatalogTaken: The database has a catalog or schema named `ai`.
        ConfigError: A setting is unknown or wrong.

    Example:
        >>> import duckdb, sqlllm
        >>> con = sqlllm.install(duckdb.connect())
        >>> con.sql("SELECT ai.count_tokens('hello world')").fetchall()
        [(2,)]
        >>> con.close()
    """
    if not hasattr(con, "create_function") or hasattr(con, "runtime"):
        msg = f"the functions are installed on a connection of DuckDB's, not on {con!r}"
        raise ConfigError(msg, hint="as duckdb.connect() gives; sqlllm.connect() has them already")
    given = {"model": model, "embed_model": embed_model, "models": models, "on_error": on_error}
    install_on(con, Settings.load(**given, **settings))
    return con


# DuckDB instances live as long as any connection to them, and crash (measured, 1.4 and 2.0) when
# a UDF is called whose Python function went away with the connection that registered it. So the
# functions are kept for the life of the process, by instance. What they hold is small: models
# and the cache are shared by the process anyway.
_INSTALLATIONS: dict[str, Installation] = {}
_INSTALLING = shared_lock(0)

PATIENCE = 10.0  # seconds for a batch, at exit


def install_on(con: DuckDB, settings: Settings) -> Installation:
    """Register the functions, or change the settings of those that are there."""
    with _INSTALLING:
        existing = _existing(con)
        if existing is not None:
            merged = _merged(existing.runtime.settings, settings)
            existing.runtime = existing.runtime.with_settings(merged)
            temp_macros(con)
            return existing
        _refuse_taken(con)
        installation = Installation(Runtime(settings))
        _register(con, installation)
        token = uuid.uuid4().hex
        _INSTALLATIONS[token] = installation
        con.execute("ATTACH ':memory:' AS ai (READ_WRITE)")  # also beside a read-only file
        con.execute(f"CREATE MACRO ai.__installation() AS '{token}'")
        for definition in definitions():
            con.execute(definition.text)
        temp_macros(con)
        atexit.register(_close, weakref.ref(con), installation)
        return installation


def _merged(old: Settings, new: Settings) -> Settings:
    """The new settings; what limits the use of models is never lifted by saying nothing."""
    said = {item.name: getattr(new, item.name) for item in fields(new)}
    if new.allow_models is None:
        del said["allow_models"]
    if new.audit_log is None:
        del said["audit_log"], said["audit_texts"]
    return old.merged(said, source="")


def _existing(con: DuckDB) -> Installation | None:
    try:
        row = con.execute("SELECT ai.__installation()").fetchone()
    except duckdb.Error:
        return None
    return _INSTALLATIONS.get(row[0]) if row else None


def _refuse_taken(con: DuckDB) -> None:
    catalogs = con.execute("SELECT 1 FROM duckdb_databases() WHERE database_name = 'ai'").fetchall()
    if catalogs:
        msg = "the database already has a catalog named 'ai'"
        raise CatalogTaken(msg, hint="attach that file under another name: ATTACH 'ai.duckdb' AS x")
    schemas = con.execute(
        "SELECT database_name FROM duckdb_schemas() "
        "WHERE schema_name = 'ai' AND database_name = current_database()"
    ).fetchall()
    if schemas:
        msg = f"the database {schemas[0][0]!r} already has a schema named 'ai'"
        raise CatalogTaken(msg, hint="move its tables to a schema of another name")


def _register(con: Any, installation: Installation) -> None:
    for fn in FUNCTIONS:
        udf = heard(fn.bind(lambda: installation.runtime), installation.heard)
        installation.functions.append(udf)
        con.create_function(
            fn.udf,
            udf,
            list(fn.parameters),
            fn.duckdb,
            type="arrow",
            null_handling="special",
        )
    for name, (returns, rows) in VIEWS.items():
        view = heard(_view(rows, installation), installation.heard)
        installation.functions.append(view)
        con.create_function(
            f"__ai_{name}",
            view,
            [],
            f"STRUCT({returns})[]",
            side_effects=True,  # asked anew in every query, also in a prepared one
        )


def _view(
    rows: Callable[[Runtime], list[dict[str, Any]]], installation: Installation
) -> Callable[[], list[dict[str, Any]]]:
    return lambda: rows(installation.runtime)


def temp_macros(con: DuckDB) -> None:
    """The spelling `ai_x(...)`, for this connection alone: TEMP macros are not shared."""
    for d in definitions():
        if d.arguments and d.public:
            text = d.text.replace(
                f"CREATE OR REPLACE MACRO ai.{d.name}(",
                f"CREATE OR REPLACE TEMP MACRO ai_{d.name}(",
            )
            con.execute(text)


def _close(con: weakref.ref[DuckDB], installation: Installation) -> None:
    """At exit: DuckDB 2.0 prints a list of leaks if a connection with UDFs is left open.

    What daemon threads still ask ends after the model's current batch: Python would end them
    within DuckDB, which aborts the process.
    """
    alive, statements = con(), installation.runtime.statements
    daemons = [t for t in threading.enumerate() if t.daemon] if statements.ask_something else []
    end = time.monotonic() + (PATIENCE if statements.ask_something else 1)
    while (alive is not None or statements.ask_something) and time.monotonic() < end:
        statements.interrupt_all()
        if alive is not None and not statements.ask_something:
            with suppress(duckdb.Error):  # busy, it or a cursor of it
                alive.close()
                break
            with suppress(duckdb.Error):  # half closed
                alive.interrupt()
        time.sleep(0.05)
    end = min(end, time.monotonic() + 1)
    while any(map(threading.Thread.is_alive, daemons)) and time.monotonic() < end:
        time.sleep(0.01)  # those that were told to end are leaving DuckDB
