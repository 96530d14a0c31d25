"""`sqlllm bench`: its options, and its report for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sqlllm.cli import output
from sqlllm.cli.defaults import count

if TYPE_CHECKING:
    from sqlllm.bench import Options, Report
    from sqlllm.bench.memory import Footprint
    from sqlllm.bench.method import Line, Table
    from sqlllm.bench.targets import Target

COLUMNS = ("method", "rows/s", "tokens/s", "MFU", "SOL", "peak MB", "sqlllm is faster", "agreement")

MEMORY = (
    "function", "rows", "peak MB", "results MB", "own MB", "bytes per further row", "ratio",
)  # fmt: skip

TARGETS = ("workload", "what", "target", "measured", "verdict")

WORDS = ("method", "sqlllm is faster", "agreement", "function", "workload", "what", "verdict")
"""Columns that stand on the left."""

SHORT = {
    "batch_size": "batch {:.0f}",
    "equal_labels": "labels {:.1%}",
    "largest_probability_difference": "p ± {:.2g}",
    "equal_to_float32": "as float32 {:.1%}",
    "answers_that_name_a_label": "{:.0%} name a label",
    "equal_texts": "texts {:.1%}",
    "equal_tokens_to_first_difference": "tokens {:.1%}",
    "cosine_min": "cosine ≥ {:.5f}",
    "cosine_mean": "mean {:.6f}",
    "valid": "{:.1%} valid",
}


def add_parser(commands: Any) -> None:
    """The subcommand's options."""
    from sqlllm.bench.options import BASELINES, WORKLOADS, Options
    from sqlllm.models.uri import DTYPES

    usual = Options()
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure this machine, and sqlllm on it against transformers and others",
        description="Measures this machine, then classify, filter, complete, extract and embed "
        "against what else one would use. Full sizes take many minutes on a CPU.",
    )
    add = parser.add_argument
    add("--model", default=usual.model, help="a language model that SQL can name, or hf:<folder>")
    add("--embed-model", default=usual.embed_model, help="an embedding model, likewise")
    add(
        "--config",
        metavar="NAME|FILE",
        help="random weights in this shape instead of --model: mistral-7b, llama-1b, tiny, "
        "or a config.json",
    )
    add("--dtype", choices=DTYPES, help="default: what sqlllm takes here, or the model's URI says")
    add("--rows", type=count, default=usual.rows, help="of classify, filter, complete, extract")
    add("--embed-rows", type=count, default=usual.embed_rows, help="of embed")
    add("--rounds", type=count, default=usual.rounds, help="medians are over these")
    add("--only", type=_among(WORKLOADS), metavar=",".join(WORKLOADS), help="default: all")
    add(
        "--baselines",
        type=_among((*BASELINES, "none")),
        default=BASELINES,
        metavar=",".join(BASELINES),
        help="default: all that are installed; none: sqlllm alone",
    )
    add("--gguf", type=Path, metavar="FILE", help="the same model, for llama.cpp")
    add(
        "--memory-model",
        default=usual.memory_model,
        metavar="NAME",
        help="for the memory of classify and filter, as --model or --config; the default, tiny, "
        "takes minutes, smollm2 an hour a round",
    )
    add("--quick", action="store_true", help="small sizes, to see that everything works")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the report as JSON")
    form.add_argument("--markdown", action="store_true", help="print it as Markdown")
    parser.set_defaults(run=bench)


def bench(given: argparse.Namespace) -> int:
    """Run it and print the report; 130 after Ctrl-C."""
    from sqlllm.bench import run
    from sqlllm.bench.targets import as_dicts

    report = run(_options(given), lambda line: print(line, file=sys.stderr))
    if given.json:
        print(json.dumps({**report.to_dict(), "targets": as_dicts(report)}, indent=1))
    elif given.markdown:
        print("\n".join(_markdown(report)))
    else:
        _show(report)
    return 130 if report.interrupted else 0


def _options(given: argparse.Namespace) -> Options:
    from sqlllm.bench import Options

    values = {field.name: getattr(given, field.name) for field in fields(Options)}
    values["baselines"] = [name for name in given.baselines if name != "none"]
    return Options(**values)


def _among(known: Sequence[str]) -> Callable[[str], list[str]]:
    from sqlllm.errors import did_you_mean

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        for name in names:
            if name not in known:
                msg = f"unknown {name!r}: {did_you_mean(name, known)}"
                raise argparse.ArgumentTypeError(msg)
        if not names:
            msg = f"give at least one of {', '.join(known)}"
            raise argparse.ArgumentTypeError(msg)
        return names

    return parse


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(width=output.width() or 150)  # a file has no width, and 80 are too few
    for line in _head(report):
        console.print(Text(line))
    for title, columns, rows, notes in _tables(report):
        grid = Grid(title=title, title_justify="left")
        for column in columns:
            grid.add_column(column, justify="left" if column in WORDS else "right")
        for row in rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
        for line in notes:
            console.print(Text(line))
    for line in _foot(report):
        console.print(Text(line))


def _markdown(report: Report) -> list[str]:
    found = [*_head(report), ""]
    for title, columns, rows, notes in _tables(report):
        found += [f"**{title}**", "", *_grid(columns, rows), ""]
        found += [line for note in notes for line in (note, "")]
    return [*found, *_foot(report)]


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _head(report: Report) -> list[str]:
    of = report.machine
    lowest = report.lowest_flops / 1e9
    return [
        f"{of['cpu']}, {of['cores']} cores, {of['device']}, {of['dtype']}; torch {of['torch']}, "
        f"transformers {of['transformers']}, Python {of['python']}",
        f"peak {report.peaks.flops / 1e9:,.0f} GFLOP/s (at times {lowest:,.0f}), "
        f"{report.peaks.bandwidth / 1e9:.1f} GB/s",
    ]


def _title(table: Table) -> str:
    facts = [
        f"{name.replace('_', ' ')} {value:{',.1f' if isinstance(value, float) else ','}}"
        for name, value in table.facts.items()
    ]
    return f"{table.name}: " + ", ".join(facts)


def _row(report: Report, table: Table, line: Line) -> list[str]:
    times = table.times(line) if line is not table.ours else []
    faster = f"{median(times):.2f}x ({min(times):.2f}-{max(times):.2f})" if times else ""
    mfu, note = report.mfu(line), table.note(line)
    figures = [SHORT[name].format(value) for name, value in line.agreement.items()]
    return [
        line.name + (f" ({note})" if note else ""),
        f"{line.rows / line.typical:,.1f}",
        f"{line.tokens / line.typical:,.0f}",
        f"{mfu:.0%}" if mfu == mfu else "-",  # NaN: not known
        f"{report.sol(table, line):.1%}",
        f"{line.peak_bytes / 1e6:,.0f}",
        faster,
        ", ".join(figures),
    ]


def _below(report: Report, table: Table) -> list[str]:
    notes = [f"note: {note}" for note in table.notes]
    if table.ours.seconds and min(table.peaks.values()) < 0.9 * report.peaks.flops:
        beside = report.sol_beside(table, table.ours)
        notes.append(
            f"note: others were busy on this machine; against the peak in each round, "
            f"SOL of {table.ours.name} is {beside:.1%}"
        )
    return notes


def _tables(report: Report) -> Iterator[tuple[str, Sequence[str], list[list[str]], list[str]]]:
    """Titles, columns, rows, and the notes below."""
    from sqlllm.bench.targets import targets

    for table in report.measured:
        rows = [_row(report, table, line) for line in table.lines if line.seconds]
        yield _title(table), COLUMNS, rows, _below(report, table)
    if pairs := report.pairs():
        title = (
            "memory above the level before, for few and many rows; classify and filter with "
            + report.options["memory_model"]
        )
        yield title, MEMORY, [_footprints(*pair) for pair in pairs], []
    if judged := targets(report):
        title = "targets, set for two CPU cores with smollm2 and minilm"
        yield title, TARGETS, list(map(_verdict, judged)), []


def _footprints(few: Footprint, many: Footprint) -> list[str]:
    from sqlllm.bench.report import grown, per_row

    both = (few, many)
    return [
        few.function,
        " / ".join(f"{entry.rows:,}" for entry in both),
        " / ".join(f"{entry.peak_bytes / 1e6:,.1f}" for entry in both),
        " / ".join(f"{entry.result_bytes / 1e6:,.1f}" for entry in both),
        " / ".join(f"{entry.own_bytes / 1e6:,.1f}" for entry in both),
        f"{per_row(few, many):,.0f}",
        f"{grown(few, many):.2f}",
    ]


def _verdict(target: Target) -> list[str]:
    digits = 6 if "cosine" in target.what else 2
    return [
        target.workload,
        target.what,
        ("≤ " if target.at_most else "≥ ") + f"{target.target:g}",
        f"{target.measured:.{digits}f}",
        "reached" if target.reached else "missed",
    ]


def _foot(report: Report) -> list[str]:
    skipped = [line for table in report.tables for line in table.skipped.items()]
    lines = [f"without {name}: {reason}" for name, reason in dict.fromkeys(skipped)]
    lines += [f"skipped {name}: {reason}" for name, reason in report.skipped.items()]
    return [*lines, *(["interrupted: this is what was measured so far"] * report.interrupted)]
