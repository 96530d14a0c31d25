"""`sqlllm run`: a script as a job, for people, logs and machines."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlllm.cli import defaults, output
from sqlllm.errors import (
    BudgetExceeded,
    CallError,
    ConfigError,
    JobRunning,
    NotDelivered,
)
from sqlllm.html import VISIBLE

Event = Mapping[str, Any]

CODES = """\
exit codes:
  0    done
  1    failed: the message says why
  2    wrong call
  3    a budget is used up
  4    another run of the job is going on, or another process has the database open
  5    done and committed, but the result can't be put where it belongs: don't start again for it
  130  interrupted (Ctrl-C or SIGTERM), after the model's current batch

The script is one transaction: a run that ends with another code than 0 or 5 leaves the database as
it was. Start the same command again to go on: every answer that was there already comes from the
cache, so nothing is paid twice. A script with BEGIN or COMMIT of its own, or that DuckDB can't run
in one transaction, is committed statement by statement; a second start begins with the first
statement, so write those to be repeated (CREATE OR REPLACE, MERGE, INSERT ... WHERE id NOT IN ...).
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "run",
        help="run a script as a job: locked, recorded, nothing half done",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("script", type=Path, help="a .sql file, or a .toml file that names one")
    parser.add_argument("-d", "--database", help="a DuckDB file (default: in memory)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="variables",
        help="a variable: getvariable('NAME') in SQL. What reads as a number is one, the rest text",
    )  # fmt: skip
    parser.add_argument("--name", help="of the job in ai.runs (default: the script's path)")
    defaults.add_arguments(parser)
    parser.add_argument(
        "--budget", action="append", default=[], metavar="NAME=NUMBER",
        help="of this run: max_calls, max_tokens, max_seconds, max_cost",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="events on standard error, one JSON object a line"
    )
    output.add_arguments(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE",
        help="write a page (HTML) that tells what the run did, however it ends",
    )  # fmt: skip
    parser.add_argument(
        "--report-samples", type=int, metavar="N",
        help="most answers shown there per call, cut to 80 characters (default: 5; 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--report-texts", action="store_true", default=None,
        help="show the beginnings of the texts beside the answers",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Run the job; the exit code."""
    log = Log(as_json=given.json)
    if given.json:  # `main` puts it back
        warnings.showwarning = lambda message, *_, **__: log.tell(
            {"event": "warning", "message": str(message)}
        )
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        _run(given, log.tell)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not output.is_told(error):
            raise
        if not given.json:
            with suppress(OSError):
                output.complain(error)
        elif not log.began:
            log.tell({"event": "refused", "message": str(error)})
        return _code(error, log.began)
    return 0


def _code(error: Exception, began: bool) -> int:
    if isinstance(error, JobRunning):
        return 4
    if isinstance(error, BudgetExceeded):
        return 3
    if isinstance(error, NotDelivered):
        return 5
    return 2 if isinstance(error, ConfigError | CallError) and not began else 1


def _run(given: argparse.Namespace, tell: Callable[[Event], None]) -> None:
    from sqlllm.jobs.job import JobFile, variable
    from sqlllm.jobs.run import JobRun

    settings = defaults.settings(given)
    if sys.stderr.isatty() and not given.json:
        settings["progress"] = True
    job = JobFile.load(
        given.script,
        database=given.database,
        variables=dict(map(variable, given.variables)),
        name=given.name,
        budgets=dict(map(variable, given.budget)),
        to=given.to,
        output=given.output,
        report=given.report,
        report_samples=given.report_samples,
        report_texts=given.report_texts,
        settings=settings,
    )
    with output.on_stdout() as spare:
        JobRun(job, tell, spare=spare, screen=output.screen()).run()


class Log:
    """Events on standard error, as long as somebody reads it: the job goes on without.

    Args:
        as_json: One object a line, without the words for people; else what people want to know.

    Attributes:
        began: Whether the run has.
    """

    EVERY = 5.0  # seconds between lines of progress

    def __init__(self, *, as_json: bool) -> None:
        self.began = False
        self._as_json = as_json
        self._heard = True
        self._statements = 0
        self._next = time.monotonic() + self.EVERY

    def tell(self, event: Event) -> None:
        """Write one."""
        self.began = self.began or event["event"] == "run_started"
        if self._as_json:
            line = json.dumps({k: v for k, v in event.items() if k != "line"})
        elif event["event"] == "progress" and time.monotonic() < self._next:
            return
        else:
            when = "" if sys.stderr.isatty() else time.strftime("%Y-%m-%d %H:%M:%S ")
            line = f"{when}sqlllm: {self._words(event)}".translate(VISIBLE)
        if self._heard:
            try:
                print(line, file=sys.stderr, flush=True)
            except OSError:
                self._heard = False

    def _words(self, event: Event) -> str:
        kind = event["event"]
        if kind == "progress":
            self._next = time.monotonic() + self.EVERY
            return str(event["line"])
        if kind == "run_started":
            self._statements = event["statements"]
            return f"job {event['job']} on {event['database']}, run {event['run']}"
        if kind == "statement_started":
            return f"{event['statement']}/{self._statements} {event['sql']}"
        if kind == "statement_done":
            return f"{event['statement']}/{self._statements} done: {event['line']}"
        if kind == "note":
            return f"note: {event['message']}"
        return f"{event['state']}: {event['line']}"
