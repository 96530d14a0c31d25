"""The command `sqlllm`."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlllm import __version__
from sqlllm.cli import bench, cache, doctor, functions, output, pull, run, shell, sql, usage


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, 1 after an error, 2 for a wrong call, 130 for Ctrl-C.

    `sqlllm run --help` lists those of jobs, `sqlllm doctor --help` those of checks.
    """
    parser = argparse.ArgumentParser(prog="sqlllm", description="LLM functions inside DuckDB SQL")
    parser.add_argument("--version", action="version", version=f"sqlllm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (pull, functions, sql, bench, cache, doctor, run, shell, usage):
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
            code: int = given.run(given) or 0
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


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings as one line for people, without the place in the code."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        output.complain(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
