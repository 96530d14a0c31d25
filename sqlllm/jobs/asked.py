"""What a run has asked so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from sqlllm.runtime.runtime import Runtime
from sqlllm.runtime.usage import Usage


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums of what `ai.usage` has; `cost` is None where no model has a price."""

    rows: int = 0
    distinct_inputs: int = 0
    cached: int = 0
    sent: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    errors: int = 0
    cost: float | None = None

    @classmethod
    def of(cls, rows: Iterable[Usage]) -> Counts:
        """The sums of these rows."""
        each = (cls(**{f.name: getattr(row, f.name) for f in fields(cls)}) for row in rows)
        return sum(each, cls())

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Counts) -> Counts:
        return self._with(other, 1)

    def __sub__(self, other: Counts) -> Counts:
        return self._with(other, -1)

    def _with(self, other: Counts, sign: int) -> Counts:
        values: dict[str, Any] = {}
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            both = mine is None and theirs is None
            values[f.name] = None if both else (mine or 0) + sign * (theirs or 0)
        return Counts(**values)

    def __str__(self) -> str:
        """For a person to read."""
        if not self.distinct_inputs:
            return "nothing asked"
        line = (
            f"{self.rows:,} rows, {self.distinct_inputs:,} distinct, {self.cached:,} cached, "
            f"{self.sent:,} sent, {self.tokens:,} tokens"
        )
        line += f", {self.errors:,} errors" if self.errors else ""
        return line + (f", cost {self.cost:.4f}" if self.cost is not None else "")


class Asked:
    """Adds up what the connections of a run have asked.

    Attributes:
        total: Of all.
        models: The fingerprint of each model that was asked, by name.
    """

    def __init__(self) -> None:
        self.total = Counts()
        self.models: dict[str, str] = {}
        self._before = Counts()

    def follow(self, runtime: Runtime) -> None:
        """Count what this runtime asks from now on."""
        self._before = self._sum(runtime)

    def step(self, runtime: Runtime) -> Counts:
        """What was asked since the last step."""
        runtime.ledger.flush()  # whoever looks at `ai.usage`, or a process that is killed, has it
        now = self._sum(runtime)
        new, self._before = now - self._before, now
        self.total += new
        return new

    def _sum(self, runtime: Runtime) -> Counts:
        asked = runtime.ledger.asked()
        for model in asked:
            if model not in self.models:
                self.models[model] = runtime.registry.get(model).fingerprint
        return Counts.of(asked.values())
