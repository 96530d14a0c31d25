"""`sqlllm sql`: statements from the command line or standard input, and the last one's result."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlllm.cli import defaults, output
from sqlllm.interrupt import end_query, stopping

if TYPE_CHECKING:
    from sqlllm.connection import Connection


MODELS = "SELECT name, uri, array_to_string(can, ', ') AS can, about FROM ai.models"

QUERY = "SQL; without it, or for -, standard input is read"


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("sql", help="run statements and print the last result")
    parser.add_argument("query", nargs="?", default="-", help=QUERY)
    parser.add_argument("-d", "--database", default=":memory:", help="a DuckDB file")
    defaults.add_arguments(parser)
    output.add_arguments(parser)


def sql(given: argparse.Namespace) -> None:
    """Run the statements, print the result and, on standard error, what was asked."""
    from sqlllm.connection import connect

    with connect(given.database, **defaults.settings(given)) as db, output.on_stdout() as spare:
        text = output.query(given.query)
        with stopping(partial(end_query, db)):
            run(db, text, given.output, given.to, spare)
        for line in db.execute(
            "SELECT format('{} · {}: {} rows, {} distinct, {} cached, {} sent, {:.1f} s', "
            '"function", model, "rows", distinct_inputs, cached, sent, seconds) '
            "FROM ai.usage WHERE this_session"
        ).fetchall():
            print(line[0], file=sys.stderr)


def run(
    db: Connection, text: str, form: str | None, to: Path | None = None, spare: Path | None = None
) -> None:
    """Run statements one by one and write the rows of the last.

    Args:
        db: The connection.
        text: The statements.
        form: In which format; None: as the name of `to` ends, or a table.
        to: The file for the rows.
        spare: The file for them where `to` is None, if there are any.
    """
    from sqlllm.jobs.result import Result
    from sqlllm.jobs.script import steps

    script = steps(db, text)
    result = Result(script, to, form, spare=spare, screen=output.screen())
    try:
        for step in script:
            result.run(db, step)
        result.deliver()
    finally:
        result.drop()
