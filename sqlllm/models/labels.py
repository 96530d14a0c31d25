"""Labels that are judged one by one, by a model that answers yes or no."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from sqlllm.errors import SqlllmError
from sqlllm.models.base import Batch
from sqlllm.task import YES_NO, Task

Choose = Callable[[Task, Sequence[str]], Iterator[Batch]]


def each_label(
    choose: Choose, task: Task, inputs: Sequence[str], parts: Iterable[Sequence[int]]
) -> Iterator[Batch]:
    """P(yes) of every label of a `multi` task: one question per label, asked of all texts.

    Batches without rows come in between, so that a query can be ended.

    Args:
        choose: Answers a question.
        task: The task.
        inputs: The texts.
        parts: Their positions, in parts of which every question is asked before the next part.
    """
    questions = list(questions_of(task))
    for part in parts:
        texts = [inputs[row] for row in part]
        table = np.zeros((len(part), len(questions)), np.float32)
        errors: dict[int, SqlllmError] = {}
        for i, question in enumerate(questions):
            for batch in choose(question, texts):
                table[list(batch.rows), i] = np.asarray(batch.answers)[:, 0]
                errors |= batch.errors
                yield Batch([], table[:0], prompt_tokens=batch.prompt_tokens)
        answered = [at for at in range(len(part)) if at not in errors]
        failed = {part[at]: error for at, error in errors.items()}
        yield Batch([part[at] for at in answered], table[answered], failed)


def questions_of(task: Task) -> Iterator[Task]:
    """The yes/no question of each label.

    Example:
        >>> [q.instruction for q in questions_of(Task("choose", labels=("bug",), multi=True))]
        ['Does the label "bug" fit the text?']
    """
    for i, label in enumerate(task.labels):
        about = task.descriptions[i] if task.descriptions else ""
        asked = f'Does the label "{label}"{f" ({about})" if about else ""} fit the text?'
        examples = tuple((text, "yes" if of == label else "no") for text, of in task.examples)
        yield replace(
            task,
            labels=YES_NO,
            descriptions=(),
            examples=examples,
            multi=False,
            instruction=f"{task.instruction} {asked}".strip(),
        )
