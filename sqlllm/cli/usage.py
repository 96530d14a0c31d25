"""`sqlllm usage`: what was asked of which model, by all processes."""

from __future__ import annotations

import argparse
import json
from datetime import date
from typing import Any

from sqlllm.cli import output
from sqlllm.cli.defaults import count

BY = ("day", "model", "function", "run")

SUMS = (
    "rows", "distinct_inputs", "cached", "sent", "prompt_tokens", "completion_tokens", "seconds",
    "errors", "cost",
)  # fmt: skip

HEADER = ("rows", "cached", "sent", "tokens", "seconds", "errors", "cost")


def add_parser(commands: Any) -> None:
    """Add the command to the parser of `sqlllm`."""
    parser = commands.add_parser("usage", help="what was asked of which model")
    parser.add_argument("--days", type=count, metavar="N", help="today and the N - 1 days before")
    parser.add_argument("--by", choices=BY, default="day", help="one line per (default: day)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=usage)


def usage(given: argparse.Namespace) -> None:
    """Print it."""
    rows = summary(given)
    if given.json:
        print(json.dumps(rows))
    else:
        output.table((given.by, *HEADER), map(shown, rows))


def summary(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per day, model, function or run, in the order in which they began."""
    from sqlllm.runtime.state import state
    from sqlllm.runtime.usage import Ledger
    from sqlllm.settings import Settings

    found: dict[str, dict[str, Any]] = {}
    for row in Ledger(state(Settings.load())).usage():
        day = row["started"].astimezone().date()
        if given.days is not None and (date.today() - day).days >= given.days:
            continue
        key = str(day) if given.by == "day" else row[given.by] or "-"
        total = found.setdefault(key, {given.by: key, **dict.fromkeys(SUMS, 0), "cost": None})
        for name in SUMS:
            if row[name] is not None:
                total[name] = (total[name] or 0) + row[name]
    return list(found.values())


def shown(row: dict[str, Any]) -> tuple[str, ...]:
    """A row for a person to read, on 80 columns."""
    key, *_ = row.values()
    tokens = row["prompt_tokens"] + row["completion_tokens"]
    counts = (row["rows"], row["cached"], row["sent"], tokens)
    cost = "-" if row["cost"] is None else f"{row['cost']:,.4g}"
    seconds = f"{row['seconds']:,.1f}"
    return (key, *(f"{count:,}" for count in counts), seconds, f"{row['errors']:,}", cost)
