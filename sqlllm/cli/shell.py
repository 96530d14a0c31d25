"""`sqlllm shell`: statements one after the other, with history and completion."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from sqlllm.cli import defaults, output
from sqlllm.errors import ConfigError

if TYPE_CHECKING:
    from sqlllm.cli.session import Session


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "shell",
        help="type statements, with history and completion",
        description="Statements end with ; and .help lists what else there is. What is piped in is "
        "run like a script: every statement's rows are printed, and the first error ends it.",
    )
    database = parser.add_mutually_exclusive_group()
    database.add_argument("file", nargs="?", metavar="database", help="a DuckDB file")
    database.add_argument("-d", "--database", default=":memory:", help="likewise")
    defaults.add_arguments(parser)
    parser.set_defaults(run=shell)


def shell(given: argparse.Namespace) -> int:
    """Run it; 1 where a statement failed and nobody was there to type another one."""
    from sqlllm.cli.session import Session
    from sqlllm.connection import connect

    database = given.file or given.database
    talks = sys.stdin.isatty()
    if talks:
        _check_extra()
    with connect(database, **defaults.settings(given)) as db:
        session = Session(db, talks=talks)
        if talks:
            _talk(session, database)
            return 0
        try:
            return 0 if session.run(output.query("-")) else 1
        except EOFError:
            return 0


def _check_extra() -> None:
    for name in ("prompt_toolkit", "pygments"):
        if importlib.util.find_spec(name) is None:
            msg = f"the shell needs {name}, which is not installed"
            raise ConfigError(
                msg, hint="run `pip install 'sqlllm[shell]'`; `sqlllm sql` works without"
            )


def _talk(session: Session, database: str) -> None:
    """Read and run until the user leaves."""
    import duckdb

    import sqlllm
    from sqlllm.cli.editor import editor
    from sqlllm.settings import state_path

    line = f"sqlllm {sqlllm.__version__}, DuckDB {duckdb.__version__}, {database}"
    session.say(f"{line}. .help helps, Ctrl-D leaves.", "dim")
    history = state_path(session.db.runtime.settings).with_name("shell_history")
    reader = editor(session.catalog, history)
    while True:
        try:
            session.run(reader.prompt())
        except KeyboardInterrupt:  # the line is cleared
            continue
        except EOFError:
            return
