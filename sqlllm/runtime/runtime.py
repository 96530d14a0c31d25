"""A task's life: distinct -> cache -> batches -> model -> cache -> back to the rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from sqlllm.errors import ModelError, SqlllmError, excerpt, first_line
from sqlllm.models.base import Batch, Model
from sqlllm.models.registry import BUILTIN_EMBEDDING, Registry, default_model
from sqlllm.runtime.answers import ASKED, Array, to_numpy
from sqlllm.runtime.asking import Asking, Caller
from sqlllm.runtime.caches import cache_for, memo
from sqlllm.runtime.encoding import Form, column_of, encode
from sqlllm.runtime.flight import Flights, Ticket, landed
from sqlllm.runtime.keys import KEY, Lane
from sqlllm.runtime.memory import give_back
from sqlllm.runtime.progress import Deferred, Progress, Work, progress_for
from sqlllm.runtime.sending import Sender, check_listed, check_place
from sqlllm.runtime.state import state
from sqlllm.runtime.statements import Statements
from sqlllm.runtime.trace import report
from sqlllm.runtime.usage import Failure, Ledger, Usage
from sqlllm.settings import Settings, state_path
from sqlllm.task import Task

FOUND = 1 << 16
"""Inputs that are looked up in the cache at a time."""


class Runtime:
    """Runs tasks for one installation.

    Args:
        settings: Models, defaults and sizes.
        before: The installation's runtime before, if its settings change: what was asked and spent
            is counted on, and the statements that run now go on.
    """

    def __init__(self, settings: Settings, before: Runtime | None = None) -> None:
        self.settings = settings
        self.registry = Registry(settings.models, memo(settings))
        self.ledger: Ledger = before.ledger if before else Ledger(state(settings))
        self.statements: Statements = before.statements if before else Statements()
        meter = before.sender.budget.meter if before else None
        self.sender: Sender = Sender(settings, self.ledger, meter)
        self._flights = Flights(together=not self.sender.budget.alone)
        self._progress: Progress = progress_for(settings.progress)

    def model_for(self, task: Task, name: str | None) -> Model:
        """The model that answers a task: named by the call, by the settings, or the built-in."""
        settings = self.settings
        configured = settings.embed_model if task.kind == "embed" else settings.model
        name = name or configured or default_model(task)
        check_listed(settings, name)
        model = self.registry.get(name)
        check_place(settings, model)
        return model

    def lane(self, task: Task, name: str | None) -> Lane:
        """The model that answers, and what it is asked: the text first, if the settings say so."""
        model = self.model_for(task, name)
        if self.settings.text_first and model.reads_prompts and task.asks:
            task = replace(task, text_first=True)
        return Lane(model, task, half=self.settings.vectors == "float16")

    def width(self, name: str | None) -> int | None:
        """Numbers in a vector of the model that embeds, if that is known before it is loaded."""
        return self.registry.width(name or self.settings.embed_model or BUILTIN_EMBEDDING)

    def run(self, task: Task, inputs: pa.Array, caller: Caller) -> pa.DictionaryArray:
        """The answer to `task` for each input.

        Args:
            task: What is asked.
            inputs: Strings; NULL gives NULL and is never sent.
            caller: On whose behalf.

        Returns:
            One answer per distinct input, and which row has which: string (complete, extract)
            or list<float> (choose: one probability per label; embed: the vector). NULL where
            the input is NULL, or failed under `on_error = 'null'`. NULL everywhere where the
            rows come later (`caller.rows`): the statement keeps the answers for them.

        Raises:
            ModelError: An input has no answer and `on_error` is `fail`.
            BudgetExceeded: A budget is used up, whatever `on_error` is.
        """
        began = time.perf_counter()
        lane = self.lane(task, caller.model)
        statement = self.statements.of(caller.connection_id, caller.query_id)
        usage = Usage(caller.query_id, caller.function, lane.model.name)
        usage.cost = self.sender.budget.cost(usage.model, 0, 0)
        if not caller.part:
            usage.rows = statement.rows(lane.digest, len(inputs), caller.rows)
        texts, answers, numbers = statement.place(
            lane.digest, inputs, ahead=caller.rows is not None
        )
        wanted, rows = _each_once(numbers)
        work = Work(f"{caller.function} · {usage.model}", usage.rows, len(wanted))
        bar = Deferred(self._progress, work)
        asking = Asking(lane, caller, statement, texts, answers, usage, bar, len(wanted), began)
        failed: BaseException | None = None
        try:
            turn = statement.turn(lane.digest) if caller.rows else nullcontext()
            with turn, bar:
                new = answers.missing(wanted)
                bar.skip(len(wanted) - len(new))
                if len(new):
                    self._ask(asking, self._find(asking, new))
            self._tell(asking, wanted)
        except BaseException as error:
            failed = error
            raise
        finally:
            usage.seconds = time.perf_counter() - began
            self.ledger.add(usage)
            report(asking, self.ledger.run, self.statements, failed)
            failed = None  # its traceback holds this frame, and all that is in it
            statement.count(lane.digest, usage)
        if caller.rows is not None:
            return nobody(lane.form, len(inputs))
        return pa.DictionaryArray.from_arrays(rows, column_of(lane.form, answers.take(wanted)))

    def _find(self, asking: Asking, new: Array) -> Array:
        """Answer texts from the cache; the numbers of those that it has no answer to."""
        usage, cache, missing = asking.usage, cache_for(asking.model, self.settings), []
        for at in range(0, len(new), FOUND):
            if at and asking.is_full:
                break
            part = new[at : at + FOUND]
            usage.distinct_inputs += len(part)
            found = cache.find(asking.lane, asking.texts.keys(part))
            there = to_numpy(found.is_valid())
            if there.any():
                asking.answers.fill(part[there], found.drop_null())
            count = int(there.sum())
            usage.cached += count
            asking.bar.skip(count)
            missing.append(part[~there])
        return np.concatenate(missing)

    def _ask(self, asking: Asking, missing: Array) -> None:
        """Answer texts by the model, a block at a time."""
        several = len(missing) > ASKED
        if several and asking.model.reads_prompts:
            missing = asking.texts.alike_together(missing)  # what they begin with is read once
        if several:
            give_back()  # what collecting has left
        for at in range(0, len(missing), ASKED):
            if at and asking.is_full:
                asking.usage.distinct_inputs -= len(missing) - at
                break
            self._ask_block(asking, missing[at : at + ASKED])
            if several:
                give_back()

    def _ask_block(self, asking: Asking, block: Array) -> None:
        """Answer texts by the model, together with what other threads wait for."""
        if asking.caller.connection_id in self.statements.explained:
            msg = "explain asks no model"
            raise ModelError(msg)
        keys, texts = asking.texts.keys(block), asking.texts.column(block).to_pylist()
        tickets = self._flights.fly(
            asking.lane.digest,
            ((key.tobytes(), text) for key, text in zip(keys, texts, strict=True)),
            partial(self._compute, asking),
            self._stopped(asking),
        )
        places, answers = landed(tickets)
        errors = {}
        for i, place in enumerate(places.tolist()):
            if (error := tickets[place].error) is not None:
                errors[i] = error
                asking.usage.errors += 1
                self.fail(asking.model, tickets[place].text, error, asking.caller)
        asking.answers.fill(block[places], answers, errors)

    def _tell(self, asking: Asking, wanted: Array) -> None:
        """Raise why a text has no answer, or note it for the caller."""
        for number, error in asking.answers.errors(wanted):
            if self._strict(asking.caller):
                raise error
            (text,) = asking.texts.column(np.array([number])).to_pylist()
            asking.caller.failures[text] = first_line(error)

    def _strict(self, caller: Caller) -> bool:
        return (caller.on_error or self.settings.on_error) == "fail"

    def fail(self, model: Model, text: str, error: SqlllmError, caller: Caller) -> None:
        """Raise why `text` has no answer, or record it, as the call or the settings say."""
        if self._strict(caller):
            raise error
        message = first_line(error)
        caller.failures[text] = message
        failure = Failure(caller.query_id, caller.function, model.name, excerpt(text), message)
        self.ledger.fail(failure)

    def _compute(self, asking: Asking, waiting: list[Ticket]) -> None:
        """Send inputs to the model; keep each answer as its batch lands."""
        model = asking.model
        waiting = self._still_missing(asking, waiting)
        if not waiting:
            return
        if self.settings.cache == "only":
            refused = ModelError(
                f"{len(waiting)} inputs have no answer in the cache",
                hint="with cache = 'only' no model is asked; `FROM ai.cache` lists what is there",
            )
            for ticket in waiting:
                ticket.fail(refused)
            return
        asking.bar.advance(0)
        texts, stopped = [ticket.text for ticket in waiting], self._stopped(asking)
        with self.statements.asking():
            for batch in self.sender.send(asking, texts, stopped):
                self._land(asking, batch, waiting)
                tokens = batch.prompt_tokens + batch.completion_tokens
                asking.bar.advance(len(batch.rows) + len(batch.errors), tokens)
                if stopped():
                    break
        if stopped():
            raise KeyboardInterrupt  # what was answered is kept
        if lost := sum(not ticket.done for ticket in waiting):
            msg = f"model {model.name!r} left {lost} of {len(waiting)} inputs without an answer"
            raise ModelError(msg)

    def _stopped(self, asking: Asking) -> Callable[[], bool]:
        """Whether the caller's statement was interrupted."""
        return partial(self.statements.interrupted.__contains__, asking.caller.connection_id)

    def _land(self, asking: Asking, batch: Batch, waiting: list[Ticket]) -> None:
        """Keep the answers of a batch, and hand them to those who wait."""
        encoded = encode(asking.lane.form, batch)
        tickets = [waiting[row] for row in batch.rows]
        keys = np.frombuffer(b"".join(ticket.key for ticket in tickets), KEY)
        cache_for(asking.model, self.settings).keep(asking.lane, keys, encoded)
        for row, ticket in enumerate(tickets):
            ticket.land(encoded, row)
        for row, error in batch.errors.items():
            waiting[row].fail(error)

    def _still_missing(self, asking: Asking, waiting: list[Ticket]) -> list[Ticket]:
        """Without those that another thread has answered since they were looked up."""
        keys = np.frombuffer(b"".join(ticket.key for ticket in waiting), KEY)
        found = cache_for(asking.model, self.settings).find(asking.lane, keys)
        for i in np.flatnonzero(to_numpy(found.is_valid())).tolist():
            waiting[i].land(found, i)
        return [ticket for ticket in waiting if not ticket.done]

    def with_settings(self, settings: Settings) -> Runtime:
        """A runtime with other settings on the same ledger."""
        runtime = Runtime(settings, before=self)
        if (
            state_path(settings) != state_path(self.settings)
            or settings.record != self.settings.record
        ):
            self.ledger.keep_in(state(settings))
        return runtime


def _each_once(numbers: Array) -> tuple[Array, pa.Array]:
    """Each number once, and which of them each row has; below 0 is NULL."""
    if _follow(numbers):  # as distinct texts do
        return numbers, pa.array(np.arange(len(numbers), dtype=np.int32))
    null = numbers < 0
    encoded = pa.array(numbers, mask=null if null.any() else None).dictionary_encode()
    return to_numpy(encoded.dictionary), encoded.indices


def _follow(numbers: Array) -> bool:
    """Whether they are one after the other, from 0 or more on."""
    if not len(numbers) or numbers[0] < 0 or numbers[-1] - numbers[0] != len(numbers) - 1:
        return False
    return bool((np.diff(numbers) == 1).all())


def nobody(form: Form, rows: int) -> pa.DictionaryArray:
    """NULL for every row."""
    none = column_of(form, pa.array([], pa.binary()))
    return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), none)
