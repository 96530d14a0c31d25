"""Where a result goes: to standard output, which may be a pipe, or to a file."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlllm.errors import CallError, NotDelivered, SqlllmError
from sqlllm.html import VISIBLE
from sqlllm.jobs.job import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--output` and `--to`."""
    parser.add_argument(
        "-o", "--output", "--format", choices=FORMATS,
        help="how to write the last statement's result: table (at most 1,000 rows; default), "
        "markdown, csv, json (one object a line), parquet",
    )  # fmt: skip
    parser.add_argument(
        "--to", type=Path, metavar="FILE",
        help="where to write it, instead of standard output; the name's ending says how",
    )  # fmt: skip


def is_told(error: Exception) -> bool:
    """Whether the user gets the message of an error: ours and DuckDB's; others are faults."""
    return isinstance(error, SqlllmError) or type(error).__module__.startswith("_duckdb")


@contextmanager
def on_stdout() -> Iterator[Path]:
    """A file to write; what it holds at the end goes to standard output.

    Not written there directly: it may still turn out that nothing is kept.
    """
    with tempfile.TemporaryDirectory(prefix="sqlllm-") as folder:
        path = Path(folder) / "result"
        yield path
        if path.exists():
            _send(path)


def _send(path: Path) -> None:
    try:
        sys.stdout.flush()
        with path.open("rb") as result:
            shutil.copyfileobj(result, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader, such as `head`, has all that it wants
        closed()
    except OSError as error:
        closed()
        msg = f"all is done, but the result can't be written: {error.strerror or error}"
        raise NotDelivered(msg, hint="see whether the disk behind it is full") from error


def closed() -> None:
    """Nobody reads standard output any more: what is written there from now on goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def while_read() -> Iterator[None]:
    """Print as long as somebody reads it: a script goes on without."""
    try:
        yield
    except BrokenPipeError:
        closed()


def complain(message: object) -> None:
    """A line on standard error; what it quotes of a row can't steer the terminal."""
    print(f"sqlllm: {message}".translate(VISIBLE), file=sys.stderr)


def query(given: str) -> str:
    """What was given, or for `-` all of standard input.

    Raises:
        CallError: It is not UTF-8, or it is a terminal.
    """
    if given != "-":
        return given
    if sys.stdin.isatty():
        msg = "there is no SQL to run"
        raise CallError(msg, hint="name it, or pipe it into standard input; `sqlllm shell` asks")
    try:
        # Its bytes: as text, ends of lines in quotes would be others, and so would be the
        # characters where the locale is not UTF-8.
        raw = getattr(sys.stdin, "buffer", None)
        text = sys.stdin.read() if raw is None else raw.read().decode("utf-8-sig")
    except UnicodeError as error:
        msg = f"standard input is not UTF-8: {error}"
        raise CallError(msg, hint="`iconv -t utf-8` converts text") from None
    return text


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their names, whole."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    grid = Table(*(Column(name, overflow="fold") for name in names))
    for row in rows:  # not markup: it may hold brackets
        grid.add_row(*(Text(value.translate(VISIBLE)) for value in row))
    Console(width=width() or 1_000_000).print(grid)


def screen() -> os.terminal_size | None:
    """The terminal's size; None in a pipe, where nothing needs to be broken."""
    return shutil.get_terminal_size() if sys.stdout.isatty() else None


def width() -> int | None:
    """Columns of the terminal; None in a pipe."""
    size = screen()
    return size.columns if size else None


def prose(text: str) -> str:
    """Lines broken between words where they are too long for the terminal."""
    return "\n".join(textwrap.fill(line, width() or sys.maxsize) for line in text.splitlines())
