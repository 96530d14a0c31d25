"""The record of one run in `ai.runs`, from its beginning to how it ended."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

import sqlllm
from sqlllm.errors import BudgetExceeded, NotDelivered, StorageError, first_line
from sqlllm.runtime.runs import Job, Runs
from sqlllm.storage import warn

UNKNOWN = "look whether its changes are in the database"


class Record:
    """One run's.

    Args:
        runs: Where it is kept.

    Attributes:
        run: The run's name, once it has begun.
    """

    def __init__(self, runs: Runs) -> None:
        self.run = ""
        self._runs = runs
        self._committing = False

    def begin(self, job: Job, script: Path, statements: int) -> None:
        """The run has begun."""
        self.run = self._runs.begin(job, str(script), statements, _versions())

    def statement(self, number: int) -> None:
        """Which one runs."""
        self._runs.update(self.run, statement=number)

    def commits(self) -> None:
        """A run that is killed from here on may have been committed: its record says so."""
        self._runs.update(self.run, state="committing")
        self._committing = True

    def ended(
        self, error: BaseException | None, models: Mapping[str, str]
    ) -> tuple[str, str | None]:
        """The state in which it ended, and what is said of it."""
        state = _state(error)
        message = first_line(error) or type(error).__name__ if error is not None else None
        if isinstance(error, KeyboardInterrupt):
            message = "interrupted (Ctrl-C or SIGTERM)"
        if self._committing and isinstance(error, KeyboardInterrupt):
            message = f"while it was committing: {UNKNOWN}"
        try:
            self._runs.update(
                self.run,
                state=state,
                ended=time.time(),
                message=message[:300] if message else None,
                models=json.dumps(models),
            )
        except StorageError as lost:
            warn(f"the end of the run is not recorded: {first_line(lost)}")
        return state, message


def before(killed: Mapping[str, Any]) -> str:
    """What a run that was killed has left, for the next one to tell."""
    if killed["state"] == "committing":
        return f"the run before was killed while it was committing: {UNKNOWN}"
    return (
        f"the run before was killed at statement {killed['statement']} of "
        f"{killed['statements']}; all is done again, with its answers from the cache"
    )


def _state(error: BaseException | None) -> str:
    if error is None or isinstance(error, NotDelivered):
        return "done"
    if isinstance(error, BudgetExceeded):
        return "budget"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def _versions() -> str:
    versions = {"sqlllm": sqlllm.__version__, "duckdb": duckdb.__version__}
    return json.dumps({**versions, "python": platform.python_version()})
