"""The command `sqlllm`."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlllm.cli import bench, cache, defaults, doctor, output, run, shell, sql, usage
from sqlllm.html import VISIBLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 1 after an error, 2 for a wrong call, 130 for Ctrl-C.

    `sqlllm run --help` lists those of jobs, `sqlllm doctor --help` those of checks.
    """
    parser = argparse.ArgumentParser(prog="sqlllm", description="LLM functions inside DuckDB SQL")
    commands = parser.add_subparsers(dest="command", required=True)
    pull = commands.add_parser("pull", help="fetch a model into the cache folder")
    pull.add_argument("model", help="smollm2, minilm or hf:<owner>/<name>")
    commands.add_parser("models", help="list the models that SQL can name")
    functions = commands.add_parser("functions", help="list the functions")
    functions.add_argument("--markdown", action="store_true", help="the whole reference")
    explain = commands.add_parser("explain", help="show what a query becomes and would cost")
    explain.add_argument("query", nargs="?", default="-", help=sql.QUERY)
    explain.add_argument("-d", "--database", default=":memory:", help="a DuckDB file")
    defaults.add_arguments(explain)
    explain.add_argument("--analyze", action="store_true", help="run it, and show what was asked")
    for command in (bench, cache, doctor, run, shell, sql, usage):
        command.add_parser(commands)
    words = sys.argv[1:] if argv is None else argv
    given = parser.parse_args(words)
    if odd := [word for word in words if re.search("[\ud800-\udfff]", word)]:
        parser.error(f"not UTF-8: {odd[0]!r}")
    # As `<&-` and `>&-` leave them; a file that is opened must not become the standard output.
    sys.stdin = sys.stdin or Path(os.devnull).open()  # noqa: SIM115
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # not every locale has arrows
    try:
        with _plain_warnings():
            code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has all that it wants
        output.closed()
        return 0
    except SystemExit as stop:  # rich, likewise
        if not isinstance(stop.__context__, BrokenPipeError):
            raise
        return 0
    except KeyboardInterrupt:
        print("sqlllm: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        output.closed()  # Python would try again what it couldn't write
        said = error if error.filename else f"the output can't be written: {error.strerror}"
        output.complain(said)
        return 1
    except Exception as error:
        if not output.is_told(error):
            raise
        output.complain(error)
        return 1
    return code


def _run(given: argparse.Namespace) -> int:
    if given.command == "pull":
        from sqlllm.models.pull import pull as fetch

        fetch(given.model, lambda line: print(line, file=sys.stderr))
    elif given.command == "models":
        _models()
    elif given.command == "functions":
        _functions(markdown=given.markdown)
    elif given.command == "explain":
        from sqlllm.connection import connect

        with connect(given.database, **defaults.settings(given)) as db:
            found = db.explain(output.query(given.query), analyze=given.analyze)
            print(found.text(output.width()))
    elif given.command == "bench":
        return bench.bench(given)
    elif given.command == "cache":
        return cache.cache(given)
    elif given.command == "run":
        return run.run(given)
    elif given.command == "doctor":
        return doctor.doctor(given)
    elif given.command == "shell":
        return shell.shell(given)
    elif given.command == "usage":
        rows = usage.summary(given)
        if given.json:
            print(json.dumps(rows))
        else:
            table((given.by, *usage.HEADER), [usage.shown(row) for row in rows])
    else:
        sql.sql(given)
    return 0


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line for people, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        output.complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _functions(*, markdown: bool) -> None:
    from sqlllm.cli.functions import NOTE, listed, reference, short

    if markdown:
        from sqlllm.connection import connect

        with connect() as db:
            print(reference(lambda query: db.execute(query).fetchall()), end="")
        return
    table(["function", "returns"], [(short(each), each.returns) for each in listed()])
    print(NOTE)


def _models() -> None:
    from sqlllm.connection import connect

    with connect() as db, output.on_stdout() as spare:
        sql.run(db, sql.MODELS, "table", spare=spare)


def table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their names."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in names:  # not markup: a name may hold brackets
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*("NULL" if v is None else Text(str(v).translate(VISIBLE)) for v in row))
    Console(width=output.width() or 1_000_000).print(table)
