"""What was promised for two CPU cores with smollm2 and minilm, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlllm.bench.method import Table
from sqlllm.bench.report import Report, grown

PROMISED: Sequence[tuple[str, str, float]] = (
    ("classify", "static", 5.5),
    ("classify", "rows", 15),
    ("classify", "one_token", 15),
    ("filter", "static", 5.5),
    ("filter", "rows", 15),
    ("filter", "one_token", 15),
    ("complete", "static", 2.5),
    ("complete", "rows", 10),
    ("embed", "static", 2.0),
    ("embed", "tuned", 1.1),
)
"""Workload, baseline, how many times faster."""

LEAST_SOL = 0.6  # of classify and filter
LEAST_COSINE = 0.999  # of embed, to float32
MOST_MEMORY = 1.2  # of 100,000 rows, in units of that of 10,000


@dataclass(slots=True)
class Target:
    """A figure that was promised for two CPU cores with smollm2 and minilm."""

    workload: str
    what: str
    target: float
    measured: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it was."""
        return self.measured <= self.target if self.at_most else self.measured >= self.target


def targets(report: Report) -> list[Target]:
    """Those that this run can judge: none with other models or sizes made to be quick."""
    if not report.judged:
        return []
    found = [target for table in report.measured for target in _judge(report, table)]
    for few, many in report.pairs():
        what = f"memory of {many.rows:,} rows / of {few.rows:,}, model and results aside"
        found.append(Target(few.function, what, MOST_MEMORY, grown(few, many), at_most=True))
    return found


def as_dicts(report: Report) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "workload": target.workload,
            "what": target.what,
            "target": target.target,
            "measured": target.measured,
            "reached": target.reached,
        }
        for target in targets(report)
    ]


def _judge(report: Report, table: Table) -> list[Target]:
    ours, found = table.ours, []
    for name, kind, target in PROMISED:
        line = table.line(kind) if name == table.name else None
        if line and (times := table.times(line)):
            found.append(Target(name, f"times faster than {line.name}", target, median(times)))
    if table.name in ("classify", "filter"):
        found.append(Target(table.name, "SOL", LEAST_SOL, report.sol(table, ours)))
    for key, least in (("cosine_min", LEAST_COSINE), ("cosine_mean", LEAST_COSINE), ("valid", 1)):
        if key in ours.agreement:
            measured = ours.agreement[key]
            found.append(Target(table.name, key.replace("_", " "), least, measured))
    return found
