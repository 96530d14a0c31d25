"""The way to a model: within its budget, in the audit log, counted as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sqlllm.errors import ConfigError, ModelError
from sqlllm.models.base import Batch, Model
from sqlllm.runtime.asking import Asking
from sqlllm.runtime.audit import Audit, Outcome
from sqlllm.runtime.budget import Budget, Meter
from sqlllm.runtime.checked import checked
from sqlllm.runtime.scope import Part
from sqlllm.runtime.usage import Ledger
from sqlllm.settings import Settings


def check_listed(settings: Settings, name: str) -> None:
    """Refuse a model that is not among `allow_models`."""
    listed = settings.allow_models
    if listed is not None and name not in listed:
        names = ", ".join(f"`{each}`" for each in listed) or "none"
        msg = f"model {name!r} is not in allow_models"
        raise ConfigError(msg, hint=f"use one that is ({names}), or add it in the settings")


def check_place(settings: Settings, model: Model) -> None:
    """Refuse a model that sends texts to another machine, unless the settings allow that."""
    if model.remote and not settings.allow_remote:
        msg = f"model {model.name!r} sends texts to another machine, and allow_remote is false"
        raise ConfigError(
            msg, hint="write allow_remote = true into sqlllm.toml, or give it to connect"
        )


def _batches(asking: Asking, texts: list[str]) -> Iterator[Any]:
    """What the model makes of the texts, batch by batch."""
    answers: Any = asking.model.answer(asking.task, texts)
    if not hasattr(answers, "__iter__"):
        msg = f"model {asking.model.name!r} gave {type(answers).__name__}, not batches"
        raise ModelError(msg)
    return iter(answers)


class Sender:
    """Sends inputs to models, as far as the settings let it.

    Args:
        settings: Budgets and the audit log.
        ledger: Where usage is counted.
        meter: Of the installation's sender before, if its settings change.
    """

    def __init__(self, settings: Settings, ledger: Ledger, meter: Meter | None = None) -> None:
        self.budget = Budget(settings, ledger, meter)
        self._audit = Audit.of(settings)
        self._ledger = ledger
        self._widths: dict[bytes, int] = {}

    def send(
        self, asking: Asking, texts: Sequence[str], stopped: Callable[[], bool]
    ) -> Iterator[Batch]:
        """The model's batches, with the positions in `texts`.

        Each is counted, and noted in the audit log, before it is handed over.

        Args:
            asking: What is asked, of which model, and on whose behalf.
            texts: Of whom.
            stopped: Whether the query was interrupted.

        Raises:
            BudgetExceeded: What is left does not fit the budget. Batches before it have been handed
                over.
            StorageError: The audit log can't be written.
        """
        left, before = list(range(len(texts))), 0
        while left:
            usage = asking.usage
            unanswered = max(len(left), asking.total - usage.cached - usage.sent)
            waiting = [texts[place] for place in left]
            part = self.budget.take(
                asking, waiting, before=before, left=unanswered, stopped=stopped
            )
            unsent = yield from self._part(asking, part, texts, left[: part.count])
            left, before = unsent + left[part.count :], part.count

    def _part(
        self, asking: Asking, part: Part, texts: Sequence[str], places: Sequence[int]
    ) -> Generator[Batch, None, list[int]]:
        """The batches of one part; returns the places of what a budget kept from being sent."""
        asked = [texts[place] for place in places]
        waiting = set(range(len(asked)))
        lost = 0
        try:
            self._audit.check()
            asking.usage.batches += 1
            answers = _batches(asking, asked)
            try:
                while waiting and (batch := self._next(asking, part, asked, answers, waiting)):
                    waiting.difference_update(batch.rows, batch.errors)
                    yield replace(
                        batch,
                        rows=[places[row] for row in batch.rows],
                        errors={places[row]: error for row, error in batch.errors.items()},
                    )
                    if part.is_over:
                        return [places[row] for row in sorted(waiting)]
            except GeneratorExit:
                raise  # between batches: the rest was not sent
            except BaseException:
                lost = len(waiting)
                self._note(asking, [(asked[row], "unknown") for row in sorted(waiting)])
                raise
            finally:
                if hasattr(answers, "close"):
                    answers.close()
            lost = len(waiting)  # the model left them out
            return []
        finally:
            self.budget.settle(part, lost)
            self._ledger.flush()

    def _next(
        self,
        asking: Asking,
        part: Part,
        texts: Sequence[str],
        answers: Iterator[Batch],
        waiting: Collection[int],
    ) -> Batch | None:
        """The next batch of a part, counted and noted; None after the last."""
        began = time.perf_counter()
        found = next(answers, None)
        seconds = time.perf_counter() - began
        if found is None:
            return None
        batch = checked(asking.model.name, asking.task, found, waiting)
        if asking.task.kind == "embed" and len(batch.rows):
            self._check_width(asking, np.asarray(batch.answers).shape[1])
        usage = asking.usage
        usage.sent += len(batch.rows) + len(batch.errors)
        usage.prompt_tokens += batch.prompt_tokens
        usage.completion_tokens += batch.completion_tokens
        usage.seconds = time.perf_counter() - asking.began
        usage.cost = self.budget.cost(
            asking.model.name, usage.prompt_tokens, usage.completion_tokens
        )
        answered = [texts[row] for row in batch.rows]
        self.budget.landed(asking, part, batch, answered, seconds)
        outcomes: list[tuple[str, Outcome]] = [(text, "ok") for text in answered]
        outcomes += [(texts[row], error) for row, error in batch.errors.items()]
        self._note(asking, outcomes)
        self._ledger.add(usage)
        self._ledger.flush()
        return batch

    def _check_width(self, asking: Asking, width: int) -> None:
        """Refuse vectors of another width than before: they are kept one behind the other."""
        before = self._widths.setdefault(asking.lane.digest, width)
        if before != width:
            msg = f"model {asking.model.name!r} gave vectors of {width} numbers, and of {before}"
            raise ModelError(msg)

    def _note(self, asking: Asking, outcomes: Sequence[tuple[str, Outcome]]) -> None:
        self._audit.write(asking, self._ledger.session, self._ledger.run, outcomes)
