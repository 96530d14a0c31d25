"""What calls would cost, counted instead of asked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from sqlllm.errors import SqlllmError
from sqlllm.runtime.runtime import Caller, Runtime, keys_of, lane_of, nobody
from sqlllm.task import Task

SAMPLE = 1000  # texts whose tokens are counted; the rest is taken to be like them

PARTS = "parts of what doesn't fit in one prompt; to combine their answers, at least one more a row"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one call.

    Attributes:
        lane: The task and the model, as hexadecimal digits.
        model: The model's name.
        distinct: Distinct inputs.
        cached: Those of them that are answered already.
        tokens: Of the others' texts, without instruction and answer; None where the model can't
            count or is not on this machine.
        seconds: For the others, at the speed so far of this function on this model in this
            process; None before the first.
        note: What there is to know about how the model runs, or empty.
    """

    lane: str
    model: str
    distinct: int
    cached: int
    tokens: int | None
    seconds: float | None
    note: str = ""


class Estimator(Runtime):
    """A runtime whose `run` counts, and answers NULL."""

    def __init__(self, runtime: Runtime) -> None:
        self.__dict__.update(runtime.__dict__)
        self.costs: list[Cost] = []

    def run(self, task: Task, inputs: pa.Array, caller: Caller) -> pa.DictionaryArray:
        """Note the cost of asking about inputs."""
        model = self.model_for(task, caller.model)
        lane, texts = lane_of(model, task), inputs.drop_null().unique().to_pylist()
        found = self._cache.get_many(keys_of(lane, texts))
        missing = [text for text, answer in zip(texts, found, strict=True) if answer is None]
        rate = self.ledger.seconds_per_input(caller.function, model.name)
        self.costs.append(
            Cost(
                lane.hexdigest(),
                model.name,
                len(texts),
                len(texts) - len(missing),
                _tokens(model, missing),
                rate * len(missing) if rate is not None else None,
                "; ".join(note for note in (PARTS if caller.part else "", model.note) if note),
            )
        )
        return nobody(task, len(texts))

    def rows(self) -> list[dict[str, Any]]:
        """The costs as plain values."""
        return [asdict(cost) for cost in self.costs]


def _tokens(model: Any, texts: list[str]) -> int | None:
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    try:
        counted = sum(model.count_tokens(sample)) if sample else 0
    except SqlllmError:
        return None
    return round(counted * len(texts) / len(sample)) if sample else 0
