"""The command `sqlllm`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sqlllm.errors import SqlllmError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 after an error, or 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="sqlllm", description="LLM functions inside DuckDB SQL")
    commands = parser.add_subparsers(dest="command", required=True)
    pull = commands.add_parser("pull", help="fetch a model into the cache folder")
    pull.add_argument("model", help="smollm2, minilm or hf:<owner>/<name>")
    commands.add_parser("models", help="list the models that SQL can name")
    functions = commands.add_parser("functions", help="list the functions")
    functions.add_argument("--markdown", action="store_true", help="the whole reference")
    sql = commands.add_parser("sql", help="run statements and print the last result")
    sql.add_argument("query", help="SQL, or - to read it from standard input")
    sql.add_argument("-d", "--database", default=":memory:", help="a DuckDB file")
    explain = commands.add_parser("explain", help="show what a query becomes and would cost")
    explain.add_argument("query", help="SQL, or - to read it from standard input")
    explain.add_argument("-d", "--database", default=":memory:", help="a DuckDB file")
    explain.add_argument("--analyze", action="store_true", help="run it, and show what was asked")
    from sqlllm.cli.bench import add_parser, bench

    add_parser(commands)
    given = parser.parse_args(argv)
    try:
        if given.command == "pull":
            from sqlllm.models.pull import pull as fetch

            fetch(given.model, lambda line: print(line, file=sys.stderr))
        elif given.command == "models":
            _print(
                ":memory:",
                "SELECT name, uri, array_to_string(can, ', ') AS can, about FROM ai.models",
            )
        elif given.command == "functions":
            _functions(markdown=given.markdown)
        elif given.command == "explain":
            from sqlllm.connection import connect

            with connect(given.database) as db:
                print(db.explain(_query(given.query), analyze=given.analyze))
        elif given.command == "bench":
            return bench(given)
        else:
            _print(given.database, _query(given.query), usage=True)
    except Exception as error:
        if not isinstance(error, SqlllmError) and not type(error).__module__.startswith("_duckdb"):
            raise
        print(f"sqlllm: {error}", file=sys.stderr)
        return 1
    return 0


def _functions(*, markdown: bool) -> None:
    from sqlllm.cli.functions import COMMON, listed, reference, short

    if markdown:
        from sqlllm.connection import connect

        with connect() as db:
            print(reference(lambda query: db.execute(query).fetchall()), end="")
        return
    _table(["function", "returns"], [(short(each), each.returns) for each in listed()])
    print(f"… is {', '.join(COMMON)}, by name. Each has a twin ai.try_<name> that tells errors.")


def _query(given: str) -> str:
    return sys.stdin.read() if given == "-" else given


def _print(database: str, query: str, *, usage: bool = False) -> None:
    from sqlllm.connection import connect

    with connect(database) as db:
        db.execute(query)
        names = [column[0] for column in db.description or []]
        rows = db.fetchall()
        _table(names, rows)
        if usage:
            for line in db.execute(
                "SELECT format('{} · {}: {} rows, {} distinct, {} cached, {} sent, {:.1f} s', "
                '"function", model, "rows", distinct_inputs, cached, sent, seconds) FROM ai.usage'
            ).fetchall():
                print(line[0], file=sys.stderr)


def _table(names: list[str], rows: list[tuple[object, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in names:
        table.add_column(Text(name))  # not markup: a name may hold brackets
    for row in rows:
        table.add_row(*("NULL" if v is None else Text(str(v)) for v in row))
    Console().print(table)
