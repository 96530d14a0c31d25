"""Run a job: locked, recorded, and so that nothing is half done and nothing is paid twice."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from sqlllm.connection import Connection, connect
from sqlllm.errors import (
    JobRunning,
    StorageError,
    excerpt,
    first_line,
)
from sqlllm.interrupt import end_query, stopping
from sqlllm.jobs.asked import Asked, Counts
from sqlllm.jobs.events import Events, OnEvent, shown
from sqlllm.jobs.job import JobFile
from sqlllm.jobs.record import Record, before
from sqlllm.jobs.report import JobReport
from sqlllm.jobs.result import Result
from sqlllm.jobs.script import (
    NotAtOnce,
    Step,
    at_once,
    one_by_one,
    set_variables,
    steps,
    why_one_by_one,
)
from sqlllm.report.content import without_keys
from sqlllm.runtime.budget import Meter
from sqlllm.runtime.caches import file_cache
from sqlllm.runtime.runs import Job, Runs
from sqlllm.settings import Settings
from sqlllm.storage import warn


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a job did.

    Attributes:
        run: The run's name in `ai.runs`.
        job: The job's name.
        statements: How many were run.
        at_once: Whether in one transaction.
        seconds: From the start to the end.
        counts: Rows, inputs, tokens and cost, as in `ai.usage`.
    """

    run: str
    job: str
    statements: int
    at_once: bool
    seconds: float
    counts: Counts


def run(
    script: str | Path,
    *,
    database: str | None = None,
    variables: Mapping[str, Any] | None = None,
    name: str | None = None,
    budgets: Mapping[str, Any] | None = None,
    to: str | Path | None = None,
    output: str | None = None,
    report: str | Path | None = None,
    report_samples: int | None = None,
    report_texts: bool | None = None,
    on_event: OnEvent | None = None,
    **settings: Any,
) -> RunResult:
    """Run a script of statements as a job.

    All of it is one transaction: a job that fails, is killed, interrupted or out of budget leaves
    the database as it was, and the next start does everything again, with the answers that are
    there already from the cache. A script that has transaction statements of its own, or that
    DuckDB can't run in one transaction (it writes to two attached databases, CHECKPOINT), is
    committed statement by statement; an event says so.

    Args:
        script: A file of SQL, or a job file (`.toml`) that names one.
        database: A DuckDB file; None: the job file's, or `:memory:`.
        variables: Set before the script, which reads them as `getvariable('name')`.
        name: The job's name; one run of a name and a database at a time. None: the job file's, or
            the script's path.
        budgets: Of this run, such as `{"max_calls": 1000}`.
        to: Where to write the result of the last statement.
        output: `table`, `markdown`, `csv`, `json` or `parquet`; None: as the name of `to` ends.
        report: Where to write a page that tells what the run did, however it ends.
        report_samples: Most answers that it shows per call, 0 to 10; as in `Connection.report`.
        report_texts: Whether the beginnings of texts stand beside them.
        on_event: Gets what happens as mappings with the key `event`: `run_started`,
            `statement_started`, `progress`, `statement_done`, `note`, `run_done`, `run_failed`.
        **settings: Fields of `sqlllm.Settings`, on top of the job file's.

    Raises:
        JobRunning: Another run of the job is going on, or another process has the database open.
        BudgetExceeded: A budget is used up; the next start continues.
        StorageError: Answers or the record of runs could not be kept.
        NotDelivered: All is committed, but the result could not be put at `to`.
        ConfigError: The job file or a setting is wrong.

    Example:
        >>> import sqlllm, tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> path = folder / "job.sql"
        >>> _ = path.write_text("CREATE TABLE t AS SELECT ai.count_tokens('a b') AS n")
        >>> done = sqlllm.run(path, database=str(folder / "w.duckdb"))
        >>> done.statements, done.at_once
        (1, True)
    """
    job = JobFile.load(
        Path(script),
        database=database,
        variables=variables,
        name=name,
        budgets=budgets,
        to=Path(to) if to is not None else None,
        output=output,
        report=Path(report) if report is not None else None,
        report_samples=report_samples,
        report_texts=report_texts,
        settings=settings,
    )
    return JobRun(job, on_event).run()


class JobRun:
    """One run of a job; what can't work is refused before anything is begun.

    Args:
        job: The job.
        on_event: As in `run`.
        spare: Where to write the last statement's rows, if it has any and the job doesn't say.
        screen: What a table there has to fit.
    """

    def __init__(
        self,
        job: JobFile,
        on_event: OnEvent | None = None,
        *,
        spare: Path | None = None,
        screen: os.terminal_size | None = None,
    ) -> None:
        self.job = job
        self.key = Job(job.name or str(job.script), job.database)
        self.events = Events(on_event)
        self.given = dict(job.settings)
        if on_event is not None:
            self.given.setdefault("progress", self.events.progress)
        if job.budgets:
            self.given["budgets"] = job.limits
        settings = Settings.load(**self.given)
        self.runs = Runs(settings)
        self.record = Record(self.runs)
        self.asked = Asked()
        self.meter: Meter | None = None
        with duckdb.connect() as scratch:
            self.script = steps(scratch, job.sql)
            set_variables(scratch, job.variables)
        others: dict[str, str | Path] = {"database": job.database, "script": job.script}
        if job.report is not None:
            others["report"] = job.report
        self.result = Result(self.script, job.to, job.output, spare=spare, screen=screen, **others)
        _check_cache(settings)
        self.report = JobReport(job, self.script) if job.report is not None else None

    def run(self) -> RunResult:
        """From the lock to the record of how it ended."""
        started = time.monotonic()
        count = len(self.script)
        with self.runs.only(self.key) as killed:
            self.record.begin(self.key, self.job.script, count)
            self.events.run = self.record.run
            try:
                job = {"job": self.key.name, "database": self.key.database}
                self.events.tell(
                    "run_started", **job, script=str(self.job.script), statements=count
                )
                if killed is not None:
                    self.events.tell("note", message=before(killed))
                whole = self._execute()
                self.result.deliver()
            except BaseException as error:
                self.result.drop()
                self._ended(error, time.monotonic() - started)
                raise
            seconds = time.monotonic() - started
            self._ended(None, seconds)
        return RunResult(self.record.run, self.key.name, count, whole, seconds, self.asked.total)

    def _execute(self) -> bool:
        """Run the statements; whether in one transaction."""
        why = why_one_by_one(self.script)
        refused: frozenset[str] = frozenset()
        while not why:
            with self._opened(refused) as db:
                try:
                    at_once(db, self.script, self._step, self.record.commits)
                except NotAtOnce as error:
                    why = str(error)
                except duckdb.Error:
                    if db.refused == refused:
                        raise
                    # DuckDB could not bind what the rules made of a statement, and ended the
                    # transaction: again, with that statement as it was written.
                    refused = db.refused
                    said = "DuckDB can't bind a statement as it was rewritten"
                    self.events.tell("note", message=f"{said}: all begins again, that one as it is")
                else:
                    return True
        self.events.tell("note", message=f"statements are committed one by one: {why}")
        with self._opened(refused) as db:
            one_by_one(db, self.script, self._step)
        return False

    @contextmanager
    def _opened(self, refused: frozenset[str]) -> Iterator[Connection]:
        try:
            db = connect(self.job.database, **self.given)
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            msg = f"{self.job.database} is open in another process: {error}"
            raise JobRunning(msg, hint="close it there, or wait") from error
        with db, stopping(partial(end_query, db)):
            db.refused = refused
            db.runtime.ledger.run = self.record.run
            self.asked.follow(db.runtime)
            budget = db.runtime.sender.budget  # a second attempt goes on with the first one's
            self.meter = budget.meter = self.meter or budget.meter
            set_variables(db, self.job.variables)
            try:
                yield db
            finally:
                if self.report is not None:
                    self.report.close(db, self.record.run)

    def _step(self, db: Connection, number: int, step: Step) -> None:
        self.events.statement = number
        self.record.statement(number)
        line = excerpt(without_keys(step.text))[1:-1]
        self.events.tell("statement_started", statement=number, sql=line)
        started = time.monotonic()
        page = self.report.step(db, number) if self.report is not None else nullcontext()
        try:
            with page:
                self.result.run(db, step)
        finally:
            counts = self.asked.step(db.runtime)
        seconds = time.monotonic() - started
        self.events.tell("statement_done", statement=number, **shown(counts, seconds))

    def _ended(self, error: BaseException | None, seconds: float) -> None:
        state, message = self.record.ended(error, self.asked.models)
        if self.report is not None:
            self.report.write(self.record.run, self.key.name, state, message, self.asked.models)
        event = "run_done" if state == "done" else "run_failed"
        said = shown(self.asked.total, seconds)
        try:
            self.events.tell(event, state=state, message=message, **said)
        except Exception as failed:  # it has ended as it has, whoever hears of it
            warn(f"`on_event` failed on {event}: {type(failed).__name__}: {first_line(failed)}")


def _check_cache(settings: Settings) -> None:
    """Refuse to begin what would be paid again after an interruption, unless that was asked for."""
    if settings.cache != "on":
        return
    try:
        file_cache(settings).file.database.write(_takes_room)
    except StorageError as error:
        msg = f"answers can't be kept, so the job would pay twice: {first_line(error)}"
        hint = f"{error.hint}; cache = 'off' or 'memory' runs it all the same"
        raise StorageError(msg, hint=hint) from error


def _takes_room(con: sqlite3.Connection) -> None:
    """Write a page as it is: what changes nothing is not written, and finds no disk full."""
    (version,) = con.execute("PRAGMA user_version").fetchone()
    con.execute(f"PRAGMA user_version = {version}")
