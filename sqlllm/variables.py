"""The user's variables as DuckDB finds them in a query (`FROM df`), past this package's frames."""

from __future__ import annotations

import builtins
import os
import re
import stat
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FrameType, FunctionType, ModuleType
from typing import Any

import pyarrow as pa

OURS = ("sqlllm", "sqlglot")
"""Packages whose frames lie between the user's call and DuckDB's."""

NO_TABLES = (ModuleType, FunctionType, BuiltinFunctionType, type, str, bytes, int, float)
"""What hides no dataframe of the same name further out, such as a function."""

_READ = re.compile(r"(?<!\bTO\s)'([^'\n]{1,255})'", re.IGNORECASE)
"""Texts that may be files to read: not that of COPY ... TO."""

_CALL = compile("__ai_call__()", "<the variables of your program>", "eval")


def seen(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of DuckDB's, called so that a query finds the user's variables and no others.

    DuckDB looks a name up in the frame that calls it, and there only. So it is called from a frame
    whose locals are what the user's frames hold: also a dataframe of a function from a
    comprehension in it. `SET python_scan_all_frames` would look through our own frames first,
    where `query` and many more names are taken.
    """
    return partial(_from_the_user, function)


def within(variables: Mapping[str, Any], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function as if the program had these variables, and no others.

    Example:
        >>> import duckdb, pyarrow
        >>> con = duckdb.connect()
        >>> within({"function": pyarrow.table({"a": [1, 2]})}, con.sql, "FROM function").fetchall()
        [(1,), (2,)]
        >>> con.close()
    """
    # Without builtins DuckDB's own imports would fail there.
    scope = {**variables, "__ai_call__": partial(function, *args)}
    return eval(_CALL, {"__builtins__": builtins}, scope)


def named(query: str) -> dict[str, Any]:
    """The user's variables that a query may read."""
    variables = _variables(sys._getframe(1))
    return {word: variables[word] for word in re.findall(r"\w+", query) if word in variables}


def reads_once(query: str) -> bool:
    """Whether a query names a variable or a file that can be read once only."""
    if any(isinstance(value, pa.RecordBatchReader) for value in named(query).values()):
        return True
    return hasattr(os, "mkfifo") and any(map(_is_pipe, _READ.findall(query)))


def _is_pipe(path: str) -> bool:
    """Whether a text is the path of a pipe, such as /dev/stdin behind another program."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _from_the_user(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return within(_variables(sys._getframe(1)), partial(function, *args, **options))


def _variables(frame: FrameType | None) -> dict[str, Any]:
    """By name; of several, the one that DuckDB would find: from the inside out, locals first."""
    while frame is not None and _package(frame) in OURS:
        frame = frame.f_back
    scopes: list[Any] = []
    known = set()
    while frame is not None:
        if frame.f_locals is not frame.f_globals:
            scopes.append(frame.f_locals)
        if id(frame.f_globals) not in known:
            known.add(id(frame.f_globals))
            scopes.append(frame.f_globals)
        if "__ai_call__" in frame.f_locals:
            break  # `within` has said which there are
        frame = frame.f_back
    tables: dict[str, Any] = {}
    others: dict[str, Any] = {}  # for DuckDB to say what is wrong with them
    for scope in reversed(scopes):
        others.update(scope)
        tables.update({n: v for n, v in scope.items() if not isinstance(v, NO_TABLES)})
    return others | tables


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
