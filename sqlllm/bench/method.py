"""A way to answer a workload's rows, and what one run of it gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlllm.bench.limits import Part

OURS = "sqlllm"


class Skipped(Exception):
    """This can't be measured here; the message says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One run.

    Attributes:
        seconds: Wall time.
        rows: Rows answered.
        tokens: Tokens of the whole prompts and of the answers, without padding.
        flops: Operations that the method computed, its padding included where it is known.
        answers: One per row, in the form that the workload compares.
    """

    seconds: float
    rows: int
    tokens: int
    flops: float
    answers: Any


@dataclass(frozen=True, slots=True)
class Method:
    """One line of the report.

    Attributes:
        name: What it is called there.
        kind: `sqlllm`, `rows`, `static`, `continuous`, `vllm` or `llamacpp`.
        run: Answers the workload's first rows, as many as it was made for.
        warm: Brings it to its speed, once.
        note: What a reader has to know, such as how many rows it ran on.
    """

    name: str
    kind: str
    run: Callable[[], Answered]
    warm: Callable[[], object]
    note: str = ""


@dataclass(slots=True)
class Workload:
    """A task with its rows, our way to answer it and the others.

    Attributes:
        name: `classify`, `filter`, `complete`, `extract` or `embed`.
        rows: Distinct rows.
        facts: Sizes that were really used.
        least: The work-optimal plan for what our run answered.
        methods: Ours first.
        agree: Our answers, another method's answers -> named figures.
        skipped: Baseline -> why it isn't there.
        notes: What a reader has to know.
    """

    name: str
    rows: int
    facts: dict[str, Any]
    least: Callable[[Answered], Sequence[Part]]
    methods: list[Method] = field(default_factory=list)
    agree: Callable[[Any, Any, str], dict[str, float]] = lambda _ours, _theirs, _kind: {}
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
