"""Which texts models that keep texts would be asked about, found out without asking."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.models.base import Model
from sqlllm.runtime.asking import Caller
from sqlllm.runtime.caches import cache_for
from sqlllm.runtime.keys import keys_of
from sqlllm.runtime.runtime import Runtime, nobody
from sqlllm.task import Task


class Unanswered(Runtime):
    """A runtime whose `run` answers NULL, and notes texts that come before their question.

    Attributes:
        found: Models, each with the texts it has not answered.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.__dict__.update(runtime.__dict__)
        self.found: list[tuple[Model, pa.Array]] = []

    def run(self, task: Task, inputs: pa.Array, caller: Caller) -> pa.DictionaryArray:
        """Note the inputs, unless they are parts of rows, which other calls don't have."""
        lane = self.lane(task, caller.model)
        model, task = lane.model, lane.task
        if task.text_first and not caller.part:
            texts = inputs.drop_null().unique().cast(pa.large_string())
            known = cache_for(model, self.settings).find(lane, keys_of(texts))
            if known.null_count and model.behind(task):  # which loads the model
                self.found.append((model, texts.filter(known.is_null())))
        return nobody(lane.form, len(inputs))
