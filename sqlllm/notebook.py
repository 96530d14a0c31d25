"""`%load_ext sqlllm`: SQL in the cells of Jupyter and IPython."""

from __future__ import annotations

import atexit
import re
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from sqlllm.connection import Connection, connect
from sqlllm.errors import CallError, SqlllmError, did_you_mean
from sqlllm.html import Shown, grid
from sqlllm.jobs.script import steps
from sqlllm.variables import within

if TYPE_CHECKING:
    import pyarrow as pa

FRAMES = ("polars", "pandas", "arrow")

OPTIONS = {
    "-o": "out", "--out": "out",
    "-d": "database", "--database": "database",
    "--connection": "connection",
}  # fmt: skip
"""Those that take a value."""

FLAGS = {f"--{name}": name for name in (*FRAMES, "explain", "analyze", "usage")}

_OPTION = re.compile(r"\s*(--?[a-z]+)(?=[\s=]|$)=?\s*")
_VALUE = re.compile(r"""("[^"]*"|'[^']*'|\S+)\s*""")


def load(shell: Any) -> None:
    """Add the magics `%ai` and `%%ai`."""
    unload(shell)
    magic = Magic(shell)
    shell.register_magic_function(magic.ai, "line_cell", "ai")
    atexit.register(unload, shell)  # DuckDB 2.0 prints what of it is left when it is unloaded


def unload(shell: Any) -> None:
    """Take them away, and close what they opened."""
    atexit.unregister(unload)
    for magics in shell.magics_manager.magics.values():
        magics.pop("ai", None)
    ai = vars(shell.magics_manager.user_magics).pop("ai", None)
    if ai is not None:
        ai.__self__.close()


class Magic:
    """What `%ai` and `%%ai` do in one IPython shell."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._opened: dict[str, Connection] = {}
        self._usual: Connection | None = None

    def ai(self, line: str, cell: str | None = None) -> Any:
        """Run SQL with LLM functions; the last statement's rows are a dataframe.

            %%ai -o topics
            SELECT id, ai.classify(body, ['billing', 'bug']) AS topic FROM tickets

        Dataframes of the notebook are tables, and `$name` in SQL is its value of that name.
        Options come first, before any SQL:

            -o NAME, --out NAME        assign the rows to a variable instead of showing them
            -d FILE, --database FILE   run on that DuckDB file
            --connection NAME          run on the connection of that name in the notebook
            --polars --pandas --arrow  what the rows become; else what is installed, Polars first
            --explain                  show the plan and what it would ask; no model is asked
            --analyze                  likewise, and run it
            --usage                    show what was asked in this session

        Where an option names a database and there is no SQL, cells run there from then on; before,
        they run in memory.
        """
        try:
            return self._ai(line, cell)
        except (SqlllmError, duckdb.Error, KeyboardInterrupt) as error:
            error._render_traceback_ = partial(_short, error)  # type: ignore[union-attr,method-assign]
            raise

    ai.__dict__["_ipython_magic_no_var_expand"] = True  # {'a': 'b'} is SQL's

    def close(self) -> None:
        """Close the connections that were opened here."""
        for db in self._opened.values():
            db.close()
        self._opened.clear()
        self._usual = None

    def _ai(self, line: str, cell: str | None) -> Any:
        given, rest = parsed(line)
        query = f"{rest}\n{cell or ''}".strip()
        db = self._connection(given)
        if "usage" in given:
            return usage(db)
        if not query and {"database", "connection"} & set(given):
            self._usual = db
            return None
        script = steps(db, query)
        if not script:
            msg = "there is no SQL to run"
            raise CallError(msg, hint="write it below %%ai, or behind %ai; %ai? lists options")
        values = self._values(db, query)
        variables = self._shell.user_ns
        if "explain" in given or "analyze" in given:
            explain = partial(db.explain, analyze="analyze" in given)
            return within(variables, explain, query, values)
        table = within(variables, db.arrow_table, query, values)
        if not script[-1].has_rows:  # but a count of what was changed
            return None
        frame = as_frame(db, table, next((f for f in FRAMES if f in given), None))
        if "out" not in given:
            return frame
        self._shell.user_ns[given["out"]] = frame
        return None

    def _connection(self, given: dict[str, str]) -> Connection:
        if "connection" in given:
            found = self._shell.user_ns.get(given["connection"])
            if not isinstance(found, Connection):
                msg = f"{given['connection']!r} is no connection of sqlllm in this notebook"
                raise CallError(msg, hint=f"{given['connection']} = sqlllm.connect(...)")
            return found
        if "database" in given:
            return self._open(given["database"])
        return self._usual or self._open(":memory:")

    def _open(self, database: str) -> Connection:
        if database != ":memory:":
            database = str(Path(database).expanduser().resolve())
        if database not in self._opened:
            self._opened[database] = connect(database)
        return self._opened[database]

    def _values(self, db: Connection, query: str) -> dict[str, Any] | None:
        """The notebook's values that `$name` stands for in the last statement."""
        if "$" not in query:
            return None
        names = db.extract_statements(query)[-1].named_parameters
        for name in names:
            if name not in self._shell.user_ns:
                msg = f"${name} has no value: the notebook has no variable {name!r}"
                raise CallError(msg, hint=f"{name} = ...")
        return {name: self._shell.user_ns[name] for name in names} or None


def parsed(line: str) -> tuple[dict[str, str], str]:
    """The options at the beginning of a line, and what is behind them.

    Example:
        >>> parsed("-o topics --arrow SELECT 1 -- one")
        ({'out': 'topics', 'arrow': ''}, 'SELECT 1 -- one')
    """
    given: dict[str, str] = {}
    at = 0
    while option := _OPTION.match(line, at):
        name, at = option[1], option.end()
        if name in FLAGS:
            given[FLAGS[name]] = ""
            continue
        if name not in OPTIONS:
            msg = f"%ai has no option {name!r}"
            raise CallError(msg, hint=did_you_mean(name, [*OPTIONS, *FLAGS]))
        value = _VALUE.match(line, at)
        if value is None:
            msg = f"option {name} of %ai needs a value"
            raise CallError(msg, hint="%ai? lists the options")
        given[OPTIONS[name]], at = value[1].strip("\"'"), value.end()
    out = given.get("out", "x")
    if not out.isidentifier():
        msg = f"{out!r} can't be the name of a variable"
        raise CallError(msg, hint="such as -o topics")
    return given, line[at:]


def as_frame(db: Connection, table: pa.Table, wanted: str | None = None) -> Any:
    """A table as `polars`, `pandas` or `arrow`, or as the first of the two that is installed.

    A relation of DuckDB's where neither is installed.
    """
    kind = wanted or next((name for name in FRAMES[:2] if find_spec(name)), None)
    if kind == "arrow":
        return table
    relation = db.from_arrow(table)
    if kind is None:
        return relation
    if find_spec(kind) is None:
        msg = f"--{kind} needs {kind}, which is not installed"
        raise CallError(msg, hint=f"pip install {kind}")
    return relation.pl() if kind == "polars" else relation.df()


def usage(db: Connection) -> Shown:
    """What was asked in this session, by function and model."""
    header = (
        "function", "model", "rows", "distinct", "cached", "sent", "tokens", "errors", "seconds",
    )  # fmt: skip
    found = db.execute(
        'SELECT "function", model, sum("rows"), sum(distinct_inputs), sum(cached), sum(sent), '
        "sum(prompt_tokens + completion_tokens), sum(errors), sum(seconds) "
        "FROM ai.usage WHERE this_session GROUP BY ALL ORDER BY min(started)"
    ).fetchall()
    rows = [(f, m, *(f"{n:,}" for n in counts), f"{s:.1f}") for f, m, *counts, s in found]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(w) if i > 1 else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in (header, *rows)
    ]
    return Shown(grid(header, rows, words=2), "\n".join(lines))


def _short(error: BaseException) -> list[str]:
    """What is wrong, without the frames of IPython and of this package."""
    if isinstance(error, KeyboardInterrupt):
        return ["interrupted: answers that were there already are kept"]
    return [f"{type(error).__name__}: {error}"]
