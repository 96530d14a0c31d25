"""The report of a run: collected statement by statement, written however the run ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlllm.connection import Connection
from sqlllm.errors import ConfigError, first_line
from sqlllm.jobs.job import JobFile
from sqlllm.jobs.script import Step
from sqlllm.report.content import Part, Report, variables, versions
from sqlllm.report.file import check, write
from sqlllm.storage import warn


class JobReport:
    """Collects what a report of a job tells.

    Args:
        job: The job, which names a file for it.
        script: Its statements.

    Raises:
        ConfigError: That file can't be written.
    """

    def __init__(self, job: JobFile, script: Sequence[Step]) -> None:
        assert job.report is not None
        check(job.report, job.report_samples)
        self._job, self._path = job, job.report
        self._parts = [Part(step.text, state="not run") for step in script]
        self._began = time.time()
        self._failures: list[Mapping[str, Any]] = []

    @contextmanager
    def step(self, db: Connection, number: int) -> Iterator[None]:
        """Collect what a statement asks."""
        part, began = self._parts[number - 1], time.time()
        made = db.plan(part.text)
        part.sql, part.fired, part.notes, part.state = made.sql, made.fired, made.notes, "done"
        part.message = None
        try:
            yield
        except BaseException as error:
            part.state, part.message = "failed", first_line(error) or type(error).__name__
            raise
        finally:
            part.seconds = time.time() - began
            part.take(ran for ran in db.history if ran.began >= began)

    def close(self, db: Connection, run: str) -> None:
        """Collect what failed; `db` is about to be closed."""
        self._failures = [row for row in db.runtime.ledger.failures() if row["run"] == run]

    def write(
        self,
        run: str,
        name: str,
        state: str,
        message: str | None,
        models: Mapping[str, str],
    ) -> None:
        """Write the page; what is committed is no failure because it can't be."""
        job = self._job
        facts = {"run": run, "script": str(job.script), "database": job.database}
        if job.variables:
            facts["variables"] = variables(job.variables)
        report = Report(
            title=name,
            state=state,
            message=message,
            started=self._began,
            seconds=time.time() - self._began,
            facts=facts | versions(),
            parts=self._parts,
            models=models,
            failures=self._failures,
            samples=job.report_samples,
            texts=job.report_texts,
        )
        try:
            write(self._path, report)
        except ConfigError as error:
            warn(first_line(error))
