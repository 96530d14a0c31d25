"""`sqlllm sql`, `explain` and `models`: what a database answers, or would be asked."""

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
    """Add the commands and their options."""
    commands.add_parser("models", help="list the models that SQL can name").set_defaults(run=models)
    told = commands.add_parser("explain", help="show what a query becomes and would cost")
    parser = commands.add_parser("sql", help="run statements and print the last result")
    for each, function in ((told, explain), (parser, sql)):
        each.add_argument("query", nargs="?", default="-", help=QUERY)
        each.add_argument("-d", "--database", default=":memory:", help="a DuckDB file")
        defaults.add_arguments(each)
        each.set_defaults(run=function)
    told.add_argument("--analyze", action="store_true", help="run it, and show what was asked")
    output.add_arguments(parser)


def models(_: argparse.Namespace) -> None:
    """Print them."""
    from sqlllm.connection import connect

    with connect() as db, output.on_stdout() as spare:
        run(db, MODELS, "table", spare=spare)


def explain(given: argparse.Namespace) -> None:
    """Print what a query becomes."""
    from sqlllm.connection import connect

    with connect(given.database, **defaults.settings(given)) as db:
        found = db.explain(output.query(given.query), analyze=given.analyze)
        print(found.text(output.width()))


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
