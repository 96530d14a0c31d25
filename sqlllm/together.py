"""Several calls about the same texts: each is asked about a block of them, then the next block.

With the text first (`Settings.text_first`), a model then reads each text once: it keeps what it
has read until the next block comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Origin
from sqlllm.errors import SqlllmError
from sqlllm.models.base import Model
from sqlllm.runtime.estimate import DryRun
from sqlllm.runtime.statement import Call


def together(origin: Origin, calls: Mapping[Call, pa.Array]) -> None:
    """Ask about the texts that several calls of one model have in common.

    The statement keeps the answers; whoever asks for all of a call's texts next finds them.

    Args:
        origin: On whose behalf.
        calls: Calls with their distinct texts.
    """
    if not origin.runtime.settings.text_first or len(calls) < 2:
        return
    models: dict[str, tuple[Model, dict[Call, pa.Array]]] = {}
    for call, texts in calls.items():
        for model, missing in _unanswered(origin, call, texts):
            models.setdefault(model.name, (model, {}))[1][call] = missing
    for model, asked in models.values():
        _in_blocks(origin, model, asked)


def _unanswered(origin: Origin, call: Call, texts: pa.Array) -> list[tuple[Model, pa.Array]]:
    """Models that keep texts, each with those that it would be asked about."""
    function, options = call
    if function.takes != "VARCHAR":
        return []
    runtime, found = DryRun(origin.runtime), []
    try:
        function.answer(
            Origin(runtime, origin.query_id, origin.connection_id), options, texts, rows=0
        )
        for lane, caller, noted in runtime.noted:
            if lane.task.text_first and not caller.part:  # parts of rows no other call has
                missing = runtime.unanswered(lane, noted)
                if len(missing) and lane.model.behind(lane.task):  # which loads the model
                    found.append((lane.model, missing.cast(pa.large_string())))
    except SqlllmError:
        return []  # it is raised again when the call itself is asked
    return found


def _in_blocks(origin: Origin, model: Model, asked: Mapping[Call, pa.Array]) -> None:
    every = pc.unique(pa.chunked_array(list(asked.values()), pa.large_string()))
    wanted = [pc.is_in(every, value_set=texts) for texts in asked.values()]
    times = sum(mask.cast(pa.int32()).to_numpy() for mask in wanted)
    several = pa.array(times > 1, pa.bool_())
    every, wanted = every.filter(several), [mask.filter(several) for mask in wanted]
    at = 0
    with closing(model.blocks(every.to_pylist())) as sizes:
        for size in sizes:
            if origin.statement.answers_full:
                return
            for (function, options), mask in zip(asked, wanted, strict=True):
                block = every.slice(at, size).filter(mask.slice(at, size))
                if len(block):
                    function.answer(origin, options, block, rows=0)
            at += size
