"""The contract of a model: a task and a list of inputs in, batches of answers out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.errors import ModelCannot, SqlllmError

if TYPE_CHECKING:
    import numpy as np

    from sqlllm.task import Kind, Task


@dataclass(frozen=True, slots=True)
class Batch:
    """The answers of one batch, handed over as soon as they are there.

    Attributes:
        rows: Positions in the list of inputs that these answers belong to.
        answers: One per row. `complete` and `extract`: a list of str. `choose`: float32 array
            of shape (rows, labels), each row a probability distribution. `embed`: float32 array
            of shape (rows, dimensions), each row of unit length.
        errors: Position -> why there is no answer. Those positions are not in `rows`.
        prompt_tokens: Tokens read for this batch.
        completion_tokens: Tokens written for this batch.
    """

    rows: Sequence[int]
    answers: Sequence[str] | np.ndarray[Any, np.dtype[np.float32]]
    errors: Mapping[int, SqlllmError] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Model:
    """Answers tasks in batches. Subclasses override what they can do, and only that.

    A method gets each distinct input once, in the order in which the inputs first appeared, and
    yields every position exactly once, in any order and in batches of any size. It raises when
    nothing can be answered; a single input that can't be answered goes into `Batch.errors`.

    Attributes:
        name: The name SQL knows it by; set by the registry.
        fingerprint: Changes whenever the same question may get another answer (weights,
            precision, revision, the wording of prompts). It is part of every cache key. Empty: the
            model is told apart from all others while the process lives.
        durable: Whether a model of that fingerprint in another process is the same model, so that
            its answers are kept in the cache file.
        about: One line for `FROM ai.models`.
        note: What `explain` says of how it runs, or empty.
        window: Most tokens of prompt and answer together; None where there is no limit known.
        remote: Whether texts leave this machine. Such a model answers only where the settings say
            `allow_remote`.
        reads_prompts: Whether what it reads has a question beside the text, so that `text_first`
            changes its answers.
        width: Numbers in a vector of `embed`; None where that isn't known before it runs.
    """

    name: str = ""
    fingerprint: str = ""
    durable: bool = True
    note: str = ""
    window: int | None = None
    width: int | None = None
    reads_prompts: bool = True
    about: ClassVar[str] = ""
    remote: ClassVar[bool] = False

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Text that continues each prompt.

        A form is the model's to keep: what doesn't match `task.pattern`, or is JSON but not valid
        against `task.schema`, is returned as it is. So are `task.stop` and `task.max_tokens`.
        """
        raise self.cannot("complete")

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """A probability for each of `task.labels`."""
        raise self.cannot("choose")

    def extract(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """JSON that is valid against `task.schema`."""
        raise self.cannot("extract")

    def embed(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """A vector of unit length."""
        raise self.cannot("embed")

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        raise self.cannot("count tokens")

    def room(self) -> int | None:
        """Most tokens of a text that `embed` reads, special ones aside; None: no limit known."""
        return None

    def behind(self, task: Task) -> list[int]:
        """Of each question of a task, the tokens that stand behind the text if that comes first.

        None at all where the model keeps nothing of a text between questions.
        """
        return []

    def blocks(self, inputs: Sequence[str]) -> Generator[int, None, None]:
        """How many of the inputs to ask all questions about before the next ones.

        What the model reads of texts that come first is kept until the iterator is closed.
        """
        yield len(inputs)

    def answer(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Dispatch on `task.kind`."""
        method: Any = getattr(self, task.kind)
        batches: Iterator[Batch] = method(task, inputs)
        return batches

    @classmethod
    def can_do(cls) -> tuple[Kind, ...]:
        """The kinds of task that this kind of model answers."""
        return tuple(kind for kind in KINDS if getattr(cls, kind) is not getattr(Model, kind))

    def cannot(self, what: str, hint: str | None = None) -> ModelCannot:
        """The error for something that this model can't do."""
        able = ", ".join(self.can_do()) or "nothing"
        return ModelCannot(
            f"model {self.name!r} can't {what}; it can: {able}",
            hint=hint or "name another with `model := '...'`; `FROM ai.models` lists them",
        )


ANSWERS = 4
"""Part of the fingerprint of the models here. Raised whenever a change of this package (prompts,
scoring, a constant) changes what the same weights answer: what a cache holds is then asked anew."""

KINDS: tuple[Kind, ...] = ("complete", "choose", "extract", "embed")
