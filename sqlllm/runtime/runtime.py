"""A task's life: distinct -> cache -> batches -> model -> cache -> back to the rows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sqlllm.errors import ModelError, SqlllmError, excerpt, first_line
from sqlllm.models.base import Batch, Model
from sqlllm.models.registry import Registry, default_model
from sqlllm.runtime.answers import BLOCK, Answer, Answers, Array
from sqlllm.runtime.cache import Cache, shared_cache
from sqlllm.runtime.flight import Flights, Ticket
from sqlllm.runtime.memory import give_back
from sqlllm.runtime.progress import Deferred, Progress, progress_for
from sqlllm.runtime.statement import Statement, Statements
from sqlllm.runtime.usage import Failure, Ledger, Usage
from sqlllm.settings import Settings

if TYPE_CHECKING:
    from sqlllm.task import Task


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a task runs.

    Attributes:
        function: The SQL function, for `ai.usage`.
        query_id: DuckDB's number of the query.
        model: The model that the call or the session named, or None.
        on_error: The policy that the call named, or None.
        connection_id: DuckDB's number of the connection.
        rows: How many rows the inputs stand for, where they are asked ahead of them; else None.
        failures: Gets why an input has no answer, by text, under `on_error = 'null'`.
        part: Whether the inputs are parts of rows, which are counted where they are put together.
    """

    function: str
    query_id: int = 0
    model: str | None = None
    on_error: str | None = None
    connection_id: int = 0
    rows: int | None = None
    failures: dict[str, str] | None = None
    part: bool = False


@dataclass(frozen=True, slots=True)
class _Asking:
    """One task on one model, on behalf of a caller."""

    model: Model
    task: Task
    lane: hashlib.blake2b
    caller: Caller
    usage: Usage
    statement: Statement


class Runtime:
    """Runs tasks for one installation.

    Args:
        settings: Models, defaults and sizes.
        cache: Where answers are kept; None: in memory, shared by the process,
            `settings.cache_bytes` large.
    """

    def __init__(self, settings: Settings, *, cache: Cache | None = None) -> None:
        self.settings = settings
        self.registry = Registry(settings.models)
        self.ledger = Ledger()
        self.statements = Statements()
        self._cache: Cache = cache or shared_cache(settings.cache_bytes)
        self._flights = Flights()
        self._progress: Progress = progress_for(settings.progress)

    def model_for(self, task: Task, name: str | None) -> Model:
        """The model that answers a task: named by the call, by the settings, or the built-in."""
        settings = self.settings
        configured = settings.embed_model if task.kind == "embed" else settings.model
        return self.registry.get(name or configured or default_model(task))

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
        """
        started = time.perf_counter()
        model = self.model_for(task, caller.model)
        lane = lane_of(model, task)
        texts, rows = _distinct(inputs)
        statement = self.statements.of(caller.connection_id, caller.query_id)
        usage = Usage(caller.query_id, caller.function, model.name)
        if not caller.part:
            usage.rows = statement.rows(lane.digest(), len(inputs), caller.rows)
        asking = _Asking(model, task, lane, caller, usage, statement)
        try:
            answers, places = statement.answers(lane.digest(), texts, width_of(task))
            label = f"{caller.function} · {model.name}"
            turn = statement.turn(lane.digest()) if caller.rows else nullcontext()
            with turn, Deferred(self._progress, label, len(texts)) as bar:
                for at in range(0, len(texts), BLOCK):
                    block = slice(at, at + BLOCK)
                    self._block(asking, texts[block], answers, places[block], bar)
                    if usage.sent and len(texts) > BLOCK:
                        give_back()
        finally:
            usage.seconds = time.perf_counter() - started
            self.ledger.add(usage)
            statement.count(lane.digest(), usage)
        if caller.rows is not None:
            return nobody(task, len(inputs))
        return pa.DictionaryArray.from_arrays(rows, column_of(task, answers.take(places)))

    def _block(
        self, asking: _Asking, texts: pa.Array, answers: Answers, places: Array, bar: Deferred
    ) -> None:
        """Fill the places of these texts: from the cache, or asked now."""
        new = ~answers.filled(places)
        fresh = texts.filter(pa.array(new)).to_pylist() if new.any() else []
        asking.usage.distinct_inputs += len(fresh)
        bar.skip(len(texts) - len(fresh))
        if fresh:
            answers.fill(places[new], self._answers(asking, fresh, bar))
        for at, error in answers.errors(places):
            if self._strict(asking.caller):
                raise error
            if asking.caller.failures is not None:
                asking.caller.failures[texts[at].as_py()] = first_line(error)

    def _strict(self, caller: Caller) -> bool:
        return (caller.on_error or self.settings.on_error) == "fail"

    def _answers(self, asking: _Asking, texts: list[str], bar: Deferred) -> list[Answer]:
        """From the cache, and for the rest from the model, with what other threads wait for."""
        model, caller, usage = asking.model, asking.caller, asking.usage
        keys = keys_of(asking.lane, texts)
        answers: list[Any] = self._cache.get_many(keys)
        missing = [i for i, answer in enumerate(answers) if answer is None]
        usage.cached += len(texts) - len(missing)
        bar.skip(len(texts) - len(missing))
        if not missing:
            return answers
        if caller.connection_id in self.statements.explained:
            msg = "explain asks no model"
            raise ModelError(msg)
        tickets = self._flights.fly(
            asking.lane.digest(),
            ((keys[i], texts[i]) for i in missing),
            lambda waiting: self._compute(asking, waiting, bar),
        )
        for i, ticket in zip(missing, tickets, strict=True):
            answer = ticket.error if ticket.answer is None else ticket.answer
            if answer is None:
                msg = f"model {model.name!r} left an input without an answer"
                raise ModelError(msg)
            answers[i] = answer
            usage.errors += ticket.error is not None
            if ticket.error is not None and not self._strict(caller):
                self.fail(model, ticket.text, ticket.error, caller)
        return answers

    def fail(self, model: Model, text: str, error: SqlllmError, caller: Caller) -> None:
        """Raise why `text` has no answer, or record it, as the call or the settings say."""
        if self._strict(caller):
            raise error
        message = first_line(error)
        if caller.failures is not None:
            caller.failures[text] = message
        failure = Failure(caller.query_id, caller.function, model.name, excerpt(text), message)
        self.ledger.fail(failure)

    def _compute(self, asking: _Asking, waiting: list[Ticket], bar: Deferred) -> None:
        """Send inputs to the model; keep each answer as its batch lands."""
        model, task, usage = asking.model, asking.task, asking.usage
        waiting = self._still_missing(waiting)
        if not waiting:
            return
        usage.batches += 1
        bar.advance(0)
        for batch in model.answer(task, [ticket.text for ticket in waiting]):
            encoded = _encode(task, batch)
            self._cache.put_many(
                (waiting[row].key, answer) for row, answer in zip(batch.rows, encoded, strict=True)
            )
            for row, answer in zip(batch.rows, encoded, strict=True):
                waiting[row].answer, waiting[row].done = answer, True
            for row, error in batch.errors.items():
                waiting[row].error, waiting[row].done = error, True
            usage.sent += len(batch.rows) + len(batch.errors)
            usage.prompt_tokens += batch.prompt_tokens
            usage.completion_tokens += batch.completion_tokens
            bar.advance(len(batch.rows) + len(batch.errors))
            if asking.caller.connection_id in self.statements.interrupted:
                raise KeyboardInterrupt  # what was answered is kept
        if not all(ticket.done for ticket in waiting):
            lost = sum(not ticket.done for ticket in waiting)
            msg = f"model {model.name!r} left {lost} of {len(waiting)} inputs without an answer"
            raise ModelError(msg)

    def _still_missing(self, waiting: list[Ticket]) -> list[Ticket]:
        """Without those that another thread has answered since they were looked up."""
        found = self._cache.get_many([ticket.key for ticket in waiting])
        for ticket, answer in zip(waiting, found, strict=True):
            if answer is not None:
                ticket.answer, ticket.done = answer, True
        return [ticket for ticket in waiting if not ticket.done]

    def with_settings(self, settings: Settings) -> Runtime:
        """A runtime with other settings on the same ledger."""
        runtime = Runtime(settings)
        runtime.ledger, runtime.statements = self.ledger, self.statements
        return runtime


def _distinct(inputs: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Each input once, and which of them each row has."""
    encoded = inputs.dictionary_encode()
    indices, every = encoded.indices, encoded.dictionary
    if len(every) == len(inputs):
        every = inputs  # what was collected: no second copy
    del encoded
    if len(every) > BLOCK:
        give_back()
    return every.cast(pa.large_string()), indices


def lane_of(model: Model, task: Task) -> hashlib.blake2b:
    """What the keys of all answers to a task of a model begin with."""
    return hashlib.blake2b(model.fingerprint.encode() + b"\0" + task.key, digest_size=16)


def keys_of(lane: hashlib.blake2b, texts: Sequence[str]) -> list[bytes]:
    """The key of each text's answer."""
    keys = []
    for text in texts:
        key = lane.copy()
        key.update(text.encode())
        keys.append(key.digest())
    return keys


def _encode(task: Task, batch: Batch) -> list[bytes]:
    """Answers as bytes: UTF-8 text, or little-endian float32."""
    if task.kind in ("complete", "extract"):
        return [str(answer).encode() for answer in batch.answers]
    return [row.tobytes() for row in np.asarray(batch.answers, dtype="<f4")]


PACKED = 64
"""Bytes of an answer, up to which it is packed: as an object it would take 40 more."""


def width_of(task: Task) -> int:
    """Bytes of each answer where all have the same few, else 0."""
    width = 4 * len(task.labels) if task.kind == "choose" else 0
    return width if width <= PACKED else 0


def column_of(task: Task, answers: pa.BinaryArray) -> pa.Array:
    """Encoded answers as an Arrow column."""
    if task.kind in ("complete", "extract"):
        return answers.cast(pa.string())
    _, ends, data = answers.buffers()
    ends = np.frombuffer(ends or bytes(4), np.int32)[answers.offset :][: len(answers) + 1] // 4
    values = np.frombuffer(data or b"", "<f4")
    mask = answers.is_null() if answers.null_count else None
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values), mask=mask)


def nobody(task: Task, rows: int) -> pa.DictionaryArray:
    """NULL for every row."""
    none = column_of(task, pa.array([], pa.binary()))
    return pa.DictionaryArray.from_arrays(pa.nulls(rows, pa.int32()), none)
