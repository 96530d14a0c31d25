"""Labels that are judged one by one: what is asked about each, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from tiny import collect

import sqlllm
from sqlllm.models.base import Batch
from sqlllm.models.labels import each_label, questions_of

TASK = sqlllm.Task(
    "choose",
    instruction="Be strict.",
    labels=("bug", "praise"),
    descriptions=("it fails", ""),
    examples=(("crashes", "bug"),),
    multi=True,
)


def test_the_question_about_each_label() -> None:
    bug, praise = questions_of(TASK)
    assert bug.yes_no
    assert bug.instruction == 'Be strict. Does the label "bug" (it fails) fit the text?'
    assert bug.examples == (("crashes", "yes"),)
    assert praise.instruction == 'Be strict. Does the label "praise" fit the text?'
    assert praise.examples == (("crashes", "no"),)


def test_a_text_that_fails_for_one_label_has_no_answer_and_the_others_have_theirs() -> None:
    sure = {"a": 0.1, "bb": 0.2, "ccc": 0.3, "dddd": 0.4}
    failed = sqlllm.ModelError("no idea")

    def choose(task: sqlllm.Task, texts: Sequence[str]) -> Iterator[Batch]:
        more = 0.5 if "praise" in task.instruction else 0.0
        errors = {row: failed for row, text in enumerate(texts) if more and text == "bb"}
        rows = [row for row in reversed(range(len(texts))) if row not in errors]
        yes = np.array([sure[texts[row]] + more for row in rows], np.float32)
        yield Batch(rows, np.stack([yes, 1 - yes], 1), errors, prompt_tokens=7 * len(texts))

    found = list(each_label(choose, TASK, list(sure), [[1, 3], [0, 2]]))
    assert {row: error for batch in found for row, error in batch.errors.items()} == {1: failed}
    answers = collect(found)
    assert sorted(answers) == [0, 2, 3]
    for row, yes in ((0, 0.1), (2, 0.3), (3, 0.4)):
        assert answers[row].tolist() == pytest.approx([yes, yes + 0.5])
    assert sum(batch.prompt_tokens for batch in found) == 7 * len(sure) * 2
