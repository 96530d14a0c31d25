"""The shell's commands that begin with a dot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlllm.cli import output
from sqlllm.cli.functions import NOTE, listed, short
from sqlllm.cli.sql import MODELS
from sqlllm.cli.typed import LEAVE
from sqlllm.errors import CallError, did_you_mean
from sqlllm.sql import definitions

if TYPE_CHECKING:
    from sqlllm.cli.session import Session

MODES = ("table", "markdown", "csv", "json")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what follows it, what it does, and the function that does it."""

    usage: str
    about: str
    run: Callable[[Session, str], None]


def run(session: Session, text: str) -> None:
    """Run a command.

    Raises:
        CallError: There is no such command, or it can't mean anything.
        EOFError: The user leaves.
    """
    name, _, rest = text.strip().partition(" ")
    name, rest = name.lower().rstrip(";"), rest.strip()
    if name in LEAVE:
        name, rest = ".quit", ""
    command = COMMANDS.get(name)
    if command is None:
        msg = f"there is no command {name}"
        raise CallError(msg, hint=did_you_mean(name, COMMANDS))
    rest = rest if name == ".explain" else rest.rstrip("; ")
    usage = command.usage
    optional = usage.startswith("[") and usage.endswith("]")
    if (rest and not usage) or (usage and not rest and not optional):
        msg = f"{name} takes nothing" if rest else f"{name} needs {usage}"
        raise CallError(msg, hint=f"write `{f'{name} {usage}'.strip()}`")
    command.run(session, rest)


def _explain(session: Session, query: str) -> None:
    first, _, others = query.partition(" ")
    analyze = first.lower() == "analyze"
    found = session.db.explain(others if analyze else query, analyze=analyze)
    print(found.text(output.width()))


def _functions(session: Session, name: str) -> None:
    if not name:
        for each in listed():
            signature = f"{short(each)} -> {each.returns}"
            print(output.prose(signature if each.arguments else short(each)))
        print(NOTE)
        return
    known = {each.name: each for each in definitions() if each.public}
    found = known.get(name.lower().replace("ai_", "ai.", 1).removeprefix("ai."))
    if found is None:
        msg = f"there is no function ai.{name.removeprefix('ai.')}"
        raise CallError(msg, hint=did_you_mean(name.removeprefix("ai."), known))
    text = f"{found.signature} -> {found.returns}\n{found.about}\n{found.example};"
    print(output.prose(text))


def _help(session: Session, _: str) -> None:
    for name, command in COMMANDS.items():
        print(f"{f'{name} {command.usage}':38}{command.about}")
    print("SQL ends with ; and Ctrl-C stops it. Tab completes, Ctrl-R finds what was typed before.")


def _mode(session: Session, mode: str) -> None:
    if not mode:
        print(session.mode)
    elif mode not in MODES:
        msg = f"there is no mode {mode!r}"
        raise CallError(msg, hint=did_you_mean(mode, MODES))
    else:
        session.mode = mode


def _quit(session: Session, _: str) -> None:
    raise EOFError


def _read(session: Session, file: str) -> None:
    try:
        text = Path(file.strip("'\"")).expanduser().read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{file} is not UTF-8: {error}"
        raise CallError(msg) from None
    except OSError as error:
        msg = f"{file} can't be read: {error.strerror}"
        raise CallError(msg) from None
    session.script(text)


def _rows(session: Session, count: str) -> None:
    if not count:
        print(session.rows)
    elif not count.isdecimal() or int(count) < 1:
        msg = f"rows must be a whole number, 1 or more, not {count!r}"
        raise CallError(msg)
    else:
        session.rows = int(count)


TABLES = """
SELECT CASE WHEN database_name IN (current_database(), 'temp') AND schema_name = 'main' THEN ''
    WHEN schema_name = 'main' THEN database_name || '.'
    ELSE database_name || '.' || schema_name || '.' END || table_name AS "table",
    string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) AS columns
FROM duckdb_columns() WHERE NOT internal AND database_name <> 'ai' GROUP BY ALL ORDER BY ALL
"""

USAGE = """
SELECT "function", model, sum("rows") AS "rows", sum(cached) AS cached, sum(sent) AS sent,
    sum(prompt_tokens + completion_tokens) AS tokens, round(sum(seconds), 1) AS seconds,
    sum(errors) AS errors
FROM ai.usage WHERE this_session GROUP BY ALL ORDER BY ALL
"""

COMMANDS: Mapping[str, Command] = {
    ".explain": Command("[analyze] SELECT ...;", "what a query becomes and would ask", _explain),
    ".functions": Command("[name]", "the functions, or one with an example", _functions),
    ".help": Command("", "this list", _help),
    ".mode": Command(f"[{'|'.join(MODES)}]", "how rows are printed", _mode),
    ".models": Command("", "the models that SQL can name", lambda s, _: s.show(MODELS)),
    ".quit": Command("", "leave; so does Ctrl-D", _quit),
    ".read": Command("file", "run a script", _read),
    ".rows": Command("[N]", "most rows of a table", _rows),
    ".tables": Command("", "tables and views", lambda s, _: s.show(TABLES)),
    ".usage": Command("", "what this session has asked", lambda s, _: s.show(USAGE)),
}
