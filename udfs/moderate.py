"""`__ai_moderate`: whether a text does harm, and of which kind."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function
from sqlllm.udfs.classify import probabilities

CATEGORIES = {
    "hate": "contempt for a group of people",
    "harassment": "insults or threats to a person",
    "violence": "threats or praise of violence",
    "self_harm": "suicide or self-injury",
    "sexual": "sexual content",
    "illicit": "help with crime, weapons or drugs",
}
SAFE = "safe"

# minilm gives harmful sentences 0.05 to 0.87 and 99 of 100 support tickets less than 0.16.
THRESHOLD = 0.15


@function(returns="STRUCT(flagged BOOLEAN, category VARCHAR, score DOUBLE)")
def moderate(call: Call, text: pa.Array) -> pa.Array:
    """The probability of any harm, whether it reaches the threshold, and the likeliest kind."""
    threshold = call.share("threshold", THRESHOLD)
    task = call.task(
        kind="choose",
        labels=(*CATEGORIES, SAFE),
        descriptions=(*CATEGORIES.values(), "none of the others"),
        none_of_these=SAFE,
    )
    answers = call.run(task, text)
    table = probabilities(answers.dictionary, len(task.labels)).astype(np.float64)
    score = 1 - table[:, -1]
    flagged = score >= threshold
    kind = np.array(tuple(CATEGORIES), dtype=object)[table[:, :-1].argmax(axis=1)]
    column = pa.StructArray.from_arrays(
        [pa.array(flagged), pa.array(kind, pa.string(), mask=~flagged), pa.array(score)],
        names=["flagged", "category", "score"],
        mask=answers.dictionary.is_null(),
    )
    return scatter(answers, column)
