"""`__ai_classify_labels`: all labels that fit."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function
from sqlllm.udfs.classify import choose, probabilities


@function(returns="VARCHAR[]")
def classify_labels(call: Call, text: pa.Array) -> pa.Array:
    """The labels whose own probability reaches the threshold, the most probable first."""
    task = choose(call, multi=True)
    threshold = call.share("threshold", 0.5)
    answers = call.run(task, text)
    table = probabilities(answers.dictionary, len(task.labels))
    order = np.argsort(-table, axis=1, kind="stable")
    fits = np.take_along_axis(table, order, axis=1) >= np.float32(threshold)
    ends = pa.array(np.concatenate([[0], np.cumsum(fits.sum(axis=1))]), pa.int32())
    names = pa.array(task.labels, pa.string()).take(pa.array(order[fits]))
    mask = answers.dictionary.is_null()
    return scatter(answers, pa.ListArray.from_arrays(ends, names, mask=mask))
