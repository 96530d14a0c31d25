"""A model for tests, answering by a function."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.errors import BadAnswer, InputTooLong, ModelError, excerpt
from sqlllm.models.base import Batch, Model

if TYPE_CHECKING:
    from sqlllm.task import Task


class FakeModel(Model):
    """Answers by calling `fn(task, text)`, and remembers everything it was sent.

    `fn` returns what the task asks for:

    - `complete`: str; with a schema as `extract`
    - `choose`: one of `task.labels`, or a mapping label -> probability; where several may fit
      (`task.multi`), a list of labels or a mapping
    - a yes/no question (`ai.filter`, `ai.score`): bool, or P(yes) as a float
    - `extract`: anything that `json.dumps` takes, or JSON text
    - `embed`: a list of floats (scaled to unit length)

    To fail one row, `fn` raises `sqlllm.ModelError`; any other exception ends the query.

    Args:
        fn: The function.
        batch_size: Inputs per batch; None takes all at once.
        window: Most words of a system message, an input and `max_tokens` together: what is longer
            fails, unless the call says `truncate`. None: no limit.
        fingerprint: Given, its answers are kept in the cache file, for every model of that
            fingerprint in any process. None: they are kept in memory, for this one.

    Attributes:
        inputs: Every input sent, in order.
        batches: The sizes of the batches, in order.
        tasks: The task of each batch.

    Example:
        >>> import sqlllm
        >>> fake = sqlllm.FakeModel(lambda task, text: text.upper())
        >>> db = sqlllm.connect(models={"fake": fake}, model="fake")
        >>> db.execute("SELECT ai.complete(x) FROM (VALUES ('a'), ('b'), ('a')) t(x)").fetchall()
        [('A',), ('B',), ('A',)]
        >>> fake.inputs, fake.batches
        (['a', 'b'], [2])
        >>> db.close()
    """

    about: ClassVar[str] = "answers by a function; for tests"

    def __init__(
        self,
        fn: Callable[[Task, str], Any],
        *,
        batch_size: int | None = None,
        window: int | None = None,
        fingerprint: str | None = None,
    ) -> None:
        self.fn = fn
        self.batch_size = batch_size
        self.window = window
        self.inputs: list[str] = []
        self.batches: list[int] = []
        self.tasks: list[Task] = []
        self.fingerprint = f"fake:{fingerprint or uuid.uuid4().hex}"
        self.durable = fingerprint is not None

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Text, as `fn` returns it."""
        return self._batches(task, inputs, _json if task.schema else _text)

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Probabilities of the labels."""
        return self._batches(task, inputs, _probabilities)

    def extract(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """JSON text."""
        return self._batches(task, inputs, _json)

    def embed(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Unit vectors."""
        return self._batches(task, inputs, _vector)

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Words, for want of a tokenizer."""
        return [len(text.split()) for text in inputs]

    def _batches(
        self, task: Task, inputs: Sequence[str], read: Callable[[Task, Any], Any]
    ) -> Iterator[Batch]:
        size = self.batch_size or max(len(inputs), 1)
        for start in range(0, len(inputs), size):
            rows = range(start, min(start + size, len(inputs)))
            self.inputs += [inputs[row] for row in rows]
            self.batches.append(len(rows))
            self.tasks.append(task)
            answers, errors = {}, {}
            for row in rows:
                try:
                    self._check_fits(task, inputs[row])
                    answers[row] = read(task, self.fn(task, inputs[row]))
                except ModelError as error:
                    errors[row] = error
            yield Batch(
                list(answers),
                _pack(task, list(answers.values())),
                errors,
                prompt_tokens=sum(self.count_tokens([inputs[row] for row in rows])),
                completion_tokens=len(answers) if task.kind in ("complete", "extract") else 0,
            )

    def _check_fits(self, task: Task, text: str) -> None:
        if self.window is None or task.truncate:
            return
        system, words = self.count_tokens([task.system, text])
        room = self.window - system - (task.max_tokens or 0)
        if words > room:
            msg = f"the text {excerpt(text)} has {words} words; there is room for {room} here"
            raise InputTooLong(msg)


def _pack(task: Task, answers: list[Any]) -> Any:
    if task.kind in ("complete", "extract"):
        return answers
    import numpy as np

    if len(set(map(len, answers))) > 1:
        msg = f"the answers have {sorted(set(map(len, answers)))} numbers, not all as many"
        raise BadAnswer(msg)
    return np.array(answers, dtype=np.float32)


def _text(task: Task, answer: Any) -> str:
    if not isinstance(answer, str):
        msg = f"complete needs text, got {answer!r}"
        raise BadAnswer(msg)
    if task.pattern and not re.fullmatch(task.pattern, answer):
        msg = f"{excerpt(answer)} does not match {task.pattern!r}"
        raise BadAnswer(msg)
    return answer


def _json(_: Task, answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"a schema needs JSON, got {excerpt(text)}"
        raise BadAnswer(msg) from error
    return text


def _probabilities(task: Task, answer: Any) -> list[float]:
    if task.multi:
        return _each(task, answer)
    if task.yes_no and isinstance(answer, bool | int | float) and 0 <= answer <= 1:
        return [float(answer), 1.0 - float(answer)]
    if isinstance(answer, str) and answer in task.labels:
        return [float(label == answer) for label in task.labels]
    if isinstance(answer, Mapping) and set(answer) <= set(task.labels) and sum(answer.values()) > 0:
        total = sum(answer.values())
        return [answer.get(label, 0.0) / total for label in task.labels]
    msg = f"choose needs one of {list(task.labels)!r} or their probabilities, got {answer!r}"
    raise BadAnswer(msg)


def _each(task: Task, answer: Any) -> list[float]:
    """A probability for each label on its own."""
    found = answer if isinstance(answer, Mapping) else dict.fromkeys(answer, 1.0)
    if not set(found) <= set(task.labels):
        msg = f"choose needs labels among {list(task.labels)!r}, got {answer!r}"
        raise BadAnswer(msg)
    return [float(found.get(label, 0.0)) for label in task.labels]


def _vector(_: Task, answer: Any) -> list[float]:
    norm = sum(float(x) ** 2 for x in answer) ** 0.5
    if norm == 0:
        msg = "a vector of zeros has no direction"
        raise BadAnswer(msg)
    return [float(x) / norm for x in answer]
