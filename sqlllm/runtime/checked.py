"""What a model hands over, before anybody relies on it: positions, shapes and values.

Answers are matched to rows by position, and kept: one that is out of place would be another row's
for good.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from sqlllm.errors import BadAnswer, ModelError, SqlllmError, excerpt
from sqlllm.models.base import Batch
from sqlllm.task import Task

SLACK = 1e-3  # by which rounding may carry a probability beyond 0 and 1


def checked(name: str, task: Task, batch: Any, waiting: Container[int]) -> Batch:
    """The batch; a row whose answer has not the form of the task's has an error instead.

    Args:
        name: The model's.
        task: What was asked.
        batch: What the model gave.
        waiting: The positions that were asked and have no answer yet.

    Raises:
        ModelError: It is no batch, a position is wrong or there twice, or there are not as many
            answers as positions.

    Example:
        >>> checked("mine", Task("complete"), Batch([1], [7]), {0, 1}).errors
        {1: BadAnswer('the answer 7 is no text')}
        >>> checked("mine", Task("complete"), Batch([2], ["a"]), {0, 1})
        Traceback (most recent call last):
        sqlllm.errors.ModelError: model 'mine' answered position 2, which nobody asked or twice
    """
    if not isinstance(batch, Batch):
        raise _wrong(name, f"gave {excerpt(repr(batch))}, which is no Batch")
    rows: list[Any] = list(batch.rows)
    errors: dict[Any, Any] = dict(batch.errors)
    seen: set[int] = set()
    for row in (*rows, *errors):
        if not isinstance(row, Integral) or int(row) not in waiting or row in seen:
            raise _wrong(name, f"answered position {row!r}, which nobody asked or twice")
        seen.add(int(row))
    for row, error in errors.items():
        if not isinstance(error, SqlllmError):
            errors[row] = ModelError(str(error))
    text = task.kind in ("complete", "extract")
    answers: Any = batch.answers if text else _numbers(name, task, batch.answers)
    if not isinstance(answers, Sequence | np.ndarray) or len(answers) != len(rows):
        count = len(answers) if hasattr(answers, "__len__") else "no"
        raise _wrong(name, f"gave {count} answers for {len(rows)} rows")
    wrong = _texts(task, list(answers)) if text else _values(task, np.asarray(answers))
    if wrong:
        errors |= {rows[at]: error for at, error in wrong.items()}
        good = [at for at in range(len(rows)) if at not in wrong]
        rows = [rows[at] for at in good]
        answers = [answers[at] for at in good] if text else np.asarray(answers)[good]
    return replace(batch, rows=rows, answers=answers, errors=errors)


def _wrong(name: str, what: str) -> ModelError:
    return ModelError(f"model {name!r} {what}")


def _texts(task: Task, answers: Sequence[Any]) -> dict[int, SqlllmError]:
    """Which are no text, or no JSON where that was asked for.

    Python reads NaN, and half of a surrogate pair, as JSON; DuckDB doesn't.
    """
    wrong: dict[int, SqlllmError] = {}
    for at, answer in enumerate(answers):
        if not isinstance(answer, str):
            wrong[at] = BadAnswer(f"the answer {answer!r:.60} is no text")
            continue
        try:
            if task.schema:
                json.dumps(json.loads(answer), ensure_ascii=False, allow_nan=False).encode()
            answer.encode()
        except (ValueError, RecursionError):
            what = "JSON" if task.schema else "text"
            wrong[at] = BadAnswer(f"the answer {excerpt(answer)} is no {what}")
    return wrong


def _numbers(name: str, task: Task, answers: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """As a table: (rows, labels), or (rows, dimensions)."""
    try:
        table = np.asarray(answers, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise _wrong(name, f"gave answers that are no table of numbers: {error}") from error
    if table.shape[:1] == (0,):
        return table
    width = table.shape[1] if table.ndim == 2 else 0
    if not width or (task.labels and width != len(task.labels)):
        wanted = f"(rows, {len(task.labels)})" if task.labels else "(rows, dimensions)"
        raise _wrong(name, f"gave answers of the shape {table.shape}, not {wanted}")
    return table


def _values(task: Task, table: np.ndarray[Any, np.dtype[Any]]) -> dict[int, SqlllmError]:
    """Which rows have what is no number, or no probability."""
    if not table.size:
        return {}
    good = np.isfinite(table)
    if task.labels:
        good &= (table >= -SLACK) & (table <= 1 + SLACK)
    what = "a probability" if task.labels else "finite"
    return {
        int(at): BadAnswer(f"the answer {excerpt(str(table[at].tolist()))} has what is not {what}")
        for at in np.flatnonzero(~good.all(axis=1))
    }
