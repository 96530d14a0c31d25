"""A workload, the ways to answer its rows, and what each of them gave."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sqlllm.bench.limits import Part

OURS = "sqlllm"


class Skipped(Exception):
    """This can't be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One run of all rows of a line.

    Attributes:
        seconds: Wall time.
        tokens: Tokens of the whole prompts and of the answers, without padding.
        flops: Operations that the method computed, its padding included; NaN where that is not
            known.
        answers: One per row, in the form that the workload compares.
        batch_size: Of a method that has tried several.
    """

    seconds: float
    tokens: int
    flops: float
    answers: Any
    batch_size: int | None = None


@dataclass(slots=True)
class Line:
    """A method's line in the report.

    Attributes:
        name: As shown.
        kind: `sqlllm`, `rows`, `static`, `continuous`, `vllm` or `llamacpp`; `one_token` and
            `tuned` are variants of `rows` and `static`.
        rows: How many of the table's rows it answers, from the first.
        tokens: Tokens of one run.
        flops: Operations of one run.
        seconds: Round -> seconds.
        peak_bytes: The most memory above the level before, over all runs.
        agreement: Figures by name.
    """

    name: str
    kind: str
    rows: int
    tokens: int = 0
    flops: float = math.nan
    seconds: dict[int, float] = field(default_factory=dict)
    peak_bytes: int = 0
    agreement: dict[str, float] = field(default_factory=dict)

    @property
    def typical(self) -> float:
        """Median seconds of a run."""
        return median(self.seconds.values())


@dataclass(slots=True)
class Table:
    """A workload's figures.

    Attributes:
        name: `classify`, `filter`, `complete`, `extract` or `embed`.
        facts: Sizes that were really used, among them `rows`.
        lines: Ours first.
        least: The work-optimal plan for our rows.
        peaks: Round -> operations per second of the best matrix product between its runs.
        skipped: Baseline -> why it isn't there.
        notes: What a reader has to know.
    """

    name: str
    facts: dict[str, Any]
    lines: list[Line]
    least: Sequence[Part] = ()
    peaks: dict[int, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        name: str,
        facts: dict[str, Any],
        methods: Sequence[Method],
        skipped: dict[str, str],
        notes: Sequence[str],
    ) -> Table:
        """Without figures yet."""
        lines = [method.line for method in methods]
        return cls(name, facts, lines, skipped=skipped, notes=list(notes))

    @property
    def ours(self) -> Line:
        """Our line."""
        return self.lines[0]

    def line(self, kind: str) -> Line | None:
        """The line of a baseline, if it was measured."""
        return next((line for line in self.lines if line.kind == kind and line.seconds), None)

    def note(self, line: Line) -> str:
        """On how many rows it ran, where these are not all."""
        rows = self.facts["rows"]
        return f"on {line.rows} of {rows} rows" if line.rows < rows else ""

    def times(self, line: Line) -> list[float]:
        """How many times faster ours was per row, in each round that measured both."""
        ours = self.ours
        return [
            (seconds / line.rows) / (ours.seconds[at] / ours.rows)
            for at, seconds in sorted(line.seconds.items())
            if at in ours.seconds
        ]


@dataclass(frozen=True, slots=True)
class Method:
    """How a line gets its figures.

    Attributes:
        line: Where they go.
        run: Answers the line's rows.
        warm: Brings it to its speed, once.
    """

    line: Line
    run: Callable[[], Answered]
    warm: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Workload:
    """A table and how it is filled; the table outlives the models that this holds.

    Attributes:
        table: Its lines are those of the methods.
        methods: Ours first.
        least: The work-optimal plan for what our run answered.
        agree: Our answers, another method's answers, its kind -> named figures.
    """

    table: Table
    methods: list[Method]
    least: Callable[[Answered], Sequence[Part]]
    agree: Callable[[Any, Any, str], dict[str, float]]
