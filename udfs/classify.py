"""`__ai_classify`: one label of the set."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function
from sqlllm.runtime.answers import to_numpy
from sqlllm.task import Task, parse_examples, parse_labels


@function(returns="VARCHAR")
def classify(call: Call, text: pa.Array) -> pa.Array:
    """One label for each text."""
    return likeliest(call, choose(call), text)


def choose(call: Call, *, multi: bool = False) -> Task:
    """The task behind `ai.classify`, `ai.classify_scores` and `ai.classify_labels`."""
    labels, descriptions = parse_labels(call.options.get("labels"))
    none = call.text("none_of_these")
    if none:
        labels = (*labels, none)
        descriptions = (*descriptions, "none of the others") if descriptions else ()
    return call.task(
        kind="choose",
        labels=labels,
        descriptions=descriptions,
        none_of_these=none,
        multi=multi,
        examples=parse_examples(call.options.get("examples")),
        instruction=call.text("instruction"),
    )


def likeliest(call: Call, task: Task, text: pa.Array) -> pa.Array:
    """The most probable label for each text; the first of them in a tie."""
    answers = call.run(task, text)
    table = probabilities(answers.dictionary, len(task.labels))
    best = pa.array(table.argmax(axis=1), mask=null_mask(answers.dictionary))
    return scatter(answers, pa.array(task.labels, pa.string()).take(best))


def probabilities(
    column: pa.ListArray, labels: int
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Shape (rows, labels); zeros where the column is NULL."""
    table = np.zeros((len(column), labels), dtype=np.float32)
    table[~null_mask(column)] = column.flatten().to_numpy().reshape(-1, labels)
    return table


def null_mask(column: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """True where the column is NULL."""
    mask: np.ndarray[tuple[int], np.dtype[np.bool_]] = to_numpy(column.is_null())
    return mask
