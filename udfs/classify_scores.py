"""`__ai_classify_scores`: every label with its probability."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function
from sqlllm.udfs.classify import choose, probabilities


@function(returns="STRUCT(label VARCHAR, score DOUBLE)[]")
def classify_scores(call: Call, text: pa.Array) -> pa.Array:
    """Labels by falling probability, equal ones in the order given; they sum to 1."""
    task = choose(call)
    answers = call.run(task, text)
    table = probabilities(answers.dictionary, len(task.labels)).astype(np.float64)
    table /= np.maximum(table.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    order = np.argsort(-table, axis=1, kind="stable")
    fields = pa.StructArray.from_arrays(
        [
            pa.array(task.labels, pa.string()).take(pa.array(order.reshape(-1))),
            pa.array(np.take_along_axis(table, order, axis=1).reshape(-1)),
        ],
        names=["label", "score"],
    )
    ends = pa.array(np.arange(len(table) + 1) * len(task.labels), pa.int32())
    mask = answers.dictionary.is_null()
    return scatter(answers, pa.ListArray.from_arrays(ends, fields, mask=mask))
