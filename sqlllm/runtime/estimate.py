"""What calls would ask, and what that would cost, found out without asking."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from sqlllm.errors import SqlllmError
from sqlllm.models.base import Model
from sqlllm.runtime.asking import Caller
from sqlllm.runtime.caches import cache_for
from sqlllm.runtime.keys import Lane, keys_of
from sqlllm.runtime.runtime import Runtime, nobody
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
        texts: Tells other inputs apart, as hexadecimal digits.
        behind: For each question that can be read behind texts which others read, its tokens.
        text_first: Whether it is read so.
        note: What there is to know about how the model runs, or empty.
    """

    lane: str
    model: str
    distinct: int
    cached: int
    tokens: int | None
    seconds: float | None
    texts: str = ""
    behind: tuple[int, ...] = ()
    text_first: bool = False
    note: str = ""


class DryRun(Runtime):
    """A runtime whose `run` asks nobody and answers NULL.

    Attributes:
        noted: What it was to ask: the task and the model, on whose behalf, and the distinct texts.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.__dict__.update(runtime.__dict__)
        self.noted: list[tuple[Lane, Caller, pa.Array]] = []

    def run(self, task: Task, inputs: pa.Array, caller: Caller) -> pa.DictionaryArray:
        """Note the inputs."""
        lane = self.lane(task, caller.model)
        self.noted.append((lane, caller, inputs.drop_null().unique()))
        return nobody(lane.form, len(inputs))

    def unanswered(self, lane: Lane, texts: pa.Array) -> pa.Array:
        """Those of distinct texts that no cache has an answer to."""
        found = cache_for(lane.model, self.settings).find(lane, keys_of(texts))
        return texts.filter(found.is_null())

    def costs(self) -> list[Cost]:
        """What it would cost to ask what was noted."""
        return [self._cost(*each) for each in self.noted]

    def _cost(self, lane: Lane, caller: Caller, texts: pa.Array) -> Cost:
        model, missing = lane.model, self.unanswered(lane, texts).to_pylist()
        rate = self.ledger.seconds_per_input(caller.function, model.name)
        behind = tuple(model.behind(lane.task)) if missing and not caller.part else ()
        return Cost(
            lane=lane.digest.hex(),
            model=model.name,
            distinct=len(texts),
            cached=len(texts) - len(missing),
            tokens=_tokens(model, missing),
            seconds=rate * len(missing) if rate is not None else None,
            texts=_digest(texts) if behind else "",
            behind=behind,
            text_first=lane.task.text_first,
            note="; ".join(note for note in (PARTS if caller.part else "", model.note) if note),
        )


def _digest(texts: pa.Array) -> str:
    """Whatever their order is."""
    each = (hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts.to_pylist())
    return f"{sum(int.from_bytes(digest) for digest in each):x}"


def _tokens(model: Model, texts: list[str]) -> int | None:
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    try:
        counted = sum(model.count_tokens(sample)) if sample else 0
    except SqlllmError:
        return None
    return round(counted * len(texts) / len(sample)) if sample else 0
