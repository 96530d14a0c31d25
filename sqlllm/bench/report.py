"""What was measured, as numbers: medians over rounds, and ratios inside a round.

As JSON (`sqlllm bench --json`):

    machine    cpu, cores, device, dtype, python, torch, transformers, peak_gflops (the best
               product of the run), peak_gflops_lowest (the worst of those before each round: what
               the neighbours took), bandwidth_gb_per_s
    options    the settings of the run
    workloads  name, facts, notes, skipped (baseline -> reason), least_seconds, methods: name, kind,
               rows, note, seconds (per round), rows_per_second, tokens_per_second, mfu and sol
               (against the best peak of the run), sol_beside (against the peak in each round),
               peak_mb, agreement (figures by name), times (per round: how many times faster ours
               is, per row), times_median
    memory     function, rows, peak_mb, results_mb, own_mb, device_mb (each for few and many rows),
               ratio, bytes_per_row (what each further row holds)
    skipped    workload -> reason
    interrupted
    targets    workload, what, target, measured, reached (`sqlllm.bench.targets`)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from sqlllm.bench.limits import Peaks, least_seconds
from sqlllm.bench.memory import Footprint
from sqlllm.bench.method import OURS, Line, Table


@dataclass(slots=True)
class Report:
    """Everything of a run; it grows while that goes on, so that a stop loses nothing."""

    machine: dict[str, Any]
    options: dict[str, Any]
    peaks: Peaks
    lowest_flops: float
    judged: bool = True
    tables: list[Table] = field(default_factory=list)
    memory: list[Footprint] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def measured(self) -> list[Table]:
        """The tables with at least one figure of ours."""
        return [table for table in self.tables if table.ours.seconds]

    def mfu(self, line: Line) -> float:
        """Operations issued / (seconds x peak)."""
        return line.flops / (line.typical * self.peaks.flops)

    def sol(self, table: Table, line: Line) -> float:
        """Least seconds for the line's rows / its seconds."""
        least = least_seconds(table.least, self.peaks)
        return least * line.rows / table.ours.rows / line.typical

    def sol_beside(self, table: Table, line: Line) -> float:
        """The same against the peak in each round: for a machine with busy neighbours."""
        shares = [
            least_seconds(table.least, replace(self.peaks, flops=table.peaks[at]))
            * line.rows
            / table.ours.rows
            / seconds
            for at, seconds in line.seconds.items()
        ]
        return median(shares)

    def pairs(self) -> list[tuple[Footprint, Footprint]]:
        """The small and the large run of each function."""
        found: dict[str, list[Footprint]] = {}
        for entry in self.memory:
            found.setdefault(entry.function, []).append(entry)
        return [(entries[0], entries[1]) for entries in found.values() if len(entries) == 2]

    def to_dict(self) -> dict[str, Any]:
        """As the module's docstring says; NaN becomes None."""
        found = {
            "machine": {
                **self.machine,
                "peak_gflops": self.peaks.flops / 1e9,
                "peak_gflops_lowest": self.lowest_flops / 1e9,
                "bandwidth_gb_per_s": self.peaks.bandwidth / 1e9,
            },
            "options": self.options,
            "workloads": [self._table(table) for table in self.measured],
            "memory": [_memory(few, many) for few, many in self.pairs()],
            "skipped": self.skipped,
            "interrupted": self.interrupted,
        }
        clean: dict[str, Any] = _without_nan(found)
        return clean

    def _table(self, table: Table) -> dict[str, Any]:
        return {
            "name": table.name,
            "facts": table.facts,
            "notes": table.notes,
            "skipped": table.skipped,
            "least_seconds": least_seconds(table.least, self.peaks),
            "methods": [self._line(table, line) for line in table.lines if line.seconds],
        }

    def _line(self, table: Table, line: Line) -> dict[str, Any]:
        times = [] if line.kind == OURS else table.times(line)
        return {
            "name": line.name,
            "kind": line.kind,
            "rows": line.rows,
            "note": table.note(line),
            "seconds": list(line.seconds.values()),
            "rows_per_second": line.rows / line.typical,
            "tokens_per_second": line.tokens / line.typical,
            "mfu": self.mfu(line),
            "sol": self.sol(table, line),
            "sol_beside": self.sol_beside(table, line),
            "peak_mb": line.peak_bytes / 1e6,
            "agreement": line.agreement,
            "times": times,
            "times_median": median(times) if times else None,
        }


def grown(few: Footprint, many: Footprint) -> float:
    """How many times more memory many rows hold than few, without the results."""
    ratios = [many.own_bytes / max(few.own_bytes, 1)]
    if few.device_bytes:
        ratios.append(many.device_bytes / few.device_bytes)
    return max(ratios)


def per_row(few: Footprint, many: Footprint) -> float:
    """Bytes that each further row holds, without its result."""
    return (many.own_bytes - few.own_bytes) / max(many.rows - few.rows, 1)


def _memory(few: Footprint, many: Footprint) -> dict[str, Any]:
    both = (few, many)
    return {
        "function": few.function,
        "rows": [entry.rows for entry in both],
        "peak_mb": [entry.peak_bytes / 1e6 for entry in both],
        "results_mb": [entry.result_bytes / 1e6 for entry in both],
        "own_mb": [entry.own_bytes / 1e6 for entry in both],
        "device_mb": [entry.device_bytes / 1e6 for entry in both],
        "ratio": grown(few, many),
        "bytes_per_row": per_row(few, many),
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
