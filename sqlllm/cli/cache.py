"""`sqlllm cache`: what is kept, and what to do about it."""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from sqlllm.cli import output

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    parser = commands.add_parser("cache", help="see, shrink, empty or copy the cache of answers")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("info", help="where it is, how large, and the questions that have answers")
    prune = what.add_parser("prune", help="drop what was used longest ago")
    prune.add_argument("--days", type=_days, help="drop what was not used for so many days")
    prune.add_argument(
        "--to", type=_size, metavar="SIZE", help="drop until this is left: 500MB, 2GB"
    )
    clear = what.add_parser("clear", help="drop all answers")
    clear.add_argument("--model", help="only those of this model")
    clear.add_argument("--yes", action="store_true", help="don't ask")
    export = what.add_parser("export", help="write all answers to a new file")
    export.add_argument("file", type=Path, help=".sqlite: a cache for elsewhere; .parquet: a table")
    parser.set_defaults(run=cache)


def cache(given: argparse.Namespace) -> int:
    """Run it; 1 where nothing was done."""
    from sqlllm.errors import ConfigError
    from sqlllm.runtime import upkeep
    from sqlllm.runtime.caches import file_cache
    from sqlllm.settings import Settings, cache_path

    settings = Settings.load()
    path = cache_path(settings)
    if not path.exists():
        print(f"{path}: there is no cache yet", file=sys.stderr)
        return 0 if given.what == "info" else 1
    if given.what in ("prune", "clear") and settings.cache != "on":
        msg = f"cache = {settings.cache!r}, so that {path} is not written"
        raise ConfigError(msg, hint=f"SQLLLM_CACHE=on sqlllm cache {given.what} does it")
    database = file_cache(settings).file.database
    if given.what == "info":
        _info(path, settings.cache_bytes, upkeep.lanes(database))
    elif given.what == "prune":
        if given.days is None and given.to is None:
            print("sqlllm: say what to drop: --days N, --to SIZE or both", file=sys.stderr)
            return 2
        dropped = upkeep.prune(database, days=given.days, max_bytes=given.to)
        print(f"{dropped:,} answers dropped; {decimal(path.stat().st_size)} on disk")
    elif given.what == "clear":
        if not (given.yes or _agreed(f"Drop the answers of {given.model or 'all models'}?")):
            return 1
        print(f"{upkeep.clear(database, given.model):,} answers dropped")
    else:
        print(f"{upkeep.export(database, given.file):,} answers written to {given.file}")
    return 0


def _info(path: Path, limit: int, lanes: list[dict[str, Any]]) -> None:
    answers = sum(lane["answers"] for lane in lanes)
    print(f"{path}: {answers:,} answers, {decimal(path.stat().st_size)} of {decimal(limit)}")
    rows = [
        (
            lane["model"],
            lane["kind"],
            lane["question"],
            f"{lane['answers']:,}",
            decimal(lane["bytes"]),
            lane["used"].astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        for lane in lanes
    ]
    if rows:
        output.table(["model", "kind", "question", "answers", "size", "last used"], rows)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        print("sqlllm: nothing dropped; --yes drops without asking", file=sys.stderr)
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        msg = f"must be a size such as 500MB or 2GB, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return int(float(found[1]) * UNITS[(found[2] or "B").upper()])


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not days >= 0:
        msg = f"must be a number of days, 0 or more, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return days
