"""Answers as bytes, which is how they are kept, and as the columns that functions read."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

from sqlllm.models.base import Batch
from sqlllm.runtime.answers import packed
from sqlllm.runtime.memory import POOL

Form = Literal["text", "float32", "float16"]
"""UTF-8, or little-endian numbers: a vector, or one probability per label."""


def encode(form: Form, batch: Batch) -> pa.Array:
    """The answers of a batch as a binary column."""
    if form == "text":
        return pa.array(list(map(str, batch.answers)), pa.string()).cast(pa.binary())
    rows = np.asarray(batch.answers, dtype=NUMBERS[form])
    width = rows.itemsize * rows.shape[1] if rows.ndim == 2 else 0
    # In memory of their own. What a model hands over lies between what its passes take and free,
    # which would then be in pieces for as long as there are answers.
    offsets = pa.allocate_buffer(8 * (len(rows) + 1), POOL)
    data = pa.allocate_buffer(width * len(rows), POOL)
    np.frombuffer(offsets, np.int64)[:] = np.arange(len(rows) + 1) * width
    np.frombuffer(data, rows.dtype)[:] = rows.reshape(-1)
    return pa.Array.from_buffers(pa.large_binary(), len(rows), [None, offsets, data])


def column_of(form: Form, answers: pa.Array) -> pa.Array:
    """A binary column as the column of a function: string, or list of float."""
    if form == "text":
        return answers.cast(pa.string())
    number = np.dtype(NUMBERS[form])
    ends, data = packed(answers)
    values = np.frombuffer(data, number).astype(np.float32, copy=False)
    mask = answers.is_null() if answers.null_count else None
    return pa.ListArray.from_arrays(
        pa.array((ends // number.itemsize).astype(np.int32)), pa.array(values), mask=mask
    )


NUMBERS = {"float32": "<f4", "float16": "<f2"}
