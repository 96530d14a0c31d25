"""One call of a function: its options, and its way to the runtime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from sqlllm.errors import CallError, SqlllmError
from sqlllm.models.base import Model
from sqlllm.runtime.asking import Caller
from sqlllm.runtime.runtime import Runtime
from sqlllm.runtime.statement import Statement
from sqlllm.settings import check_on_error
from sqlllm.task import Task


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from: DuckDB's numbers of query and connection, and the runtime."""

    runtime: Runtime
    query_id: int
    connection_id: int

    @property
    def statement(self) -> Statement:
        """What the running statement has collected and been answered."""
        return self.runtime.statements.of(self.connection_id, self.query_id)


class Call:
    """One call of a function: its options, and the way to the runtime.

    Args:
        origin: Where the call comes from.
        function: The function's name.
        options: What the macro packed: instruction and common options by name, NULL as None.
        rows: How many rows it stands for, where they come later; else None.

    Attributes:
        failures: Why an input has no answer, by text, under `on_error = 'null'`. A function that
            asks about something else than its rows' texts adds why a row has none.
    """

    def __init__(
        self, origin: Origin, function: str, options: Mapping[str, Any], *, rows: int | None = None
    ) -> None:
        self.origin = origin
        self.runtime = origin.runtime
        self.options = options
        self.failures: dict[str, str] = {}
        on_error = options.get("on_error")
        if on_error is not None:
            check_on_error(on_error)
        self.caller = Caller(
            function,
            origin.query_id,
            self.text("model") or None,
            on_error,
            origin.connection_id,
            rows,
            self.failures,
        )

    @property
    def asks_only(self) -> bool:
        """Whether nobody reads the column: its rows come later, or are only counted."""
        explained = self.caller.connection_id in self.runtime.statements.explained
        return explained or self.caller.rows is not None

    def text(self, name: str) -> str:
        """An option that is text; '' when it is NULL."""
        value = self.options.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            msg = f"{name} must be text, not {value!r}"
            raise CallError(msg)
        return value

    def number(self, name: str, default: float) -> float:
        """An option that is a number; the default when it is NULL."""
        value = self._typed(name, (int, float), "a number")
        return default if value is None else float(value)

    def share(self, name: str, default: float) -> float:
        """An option above 0 and at most 1; the default when it is NULL."""
        value = self.number(name, default)
        if not 0 < value <= 1:
            msg = f"{name} must be above 0 and at most 1, not {value!r}"
            raise CallError(msg)
        return value

    def task(self, **parts: Any) -> Task:
        """A task with the common options of this call."""
        return Task(
            **parts,
            temperature=self.number("temperature", 0),
            top_p=self.number("top_p", 1),
            max_tokens=self.whole("max_tokens"),
            seed=self.whole("seed") or 0,
            truncate=self.flag("truncate"),
        )

    def texts(self, name: str) -> tuple[str, ...]:
        """An option that is text or a list of texts; empty when it is NULL."""
        value = self.options.get(name)
        if isinstance(value, str):
            return (value,)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            msg = f"{name} must be text or a list of texts, not {value!r}"
            raise CallError(msg)
        return tuple(value or ())

    def flag(self, name: str) -> bool:
        """An option that is true or false; false when it is NULL."""
        return bool(self._typed(name, (bool,), "true or false"))

    def whole(self, name: str) -> int | None:
        """An option that is a whole number; None when it is NULL."""
        value: int | None = self._typed(name, (int,), "a whole number")
        return value

    def _typed(self, name: str, kinds: tuple[type, ...], called: str) -> Any:
        value = self.options.get(name)
        right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if value is not None and not right:
            msg = f"{name} must be {called}, not {value!r}"
            raise CallError(msg)
        return value

    def model_for(self, task: Task) -> Model:
        """The model that answers a task of this call."""
        return self.runtime.model_for(task, self.caller.model)

    def run(self, task: Task, text: pa.Array) -> pa.DictionaryArray:
        """`Runtime.run` on behalf of this call."""
        return self.runtime.run(task, text, self.caller)

    def run_part(self, task: Task, text: pa.Array) -> pa.DictionaryArray:
        """The same for a step on the way to the answers: `text` is not one input per row.

        The answers are there at once, also where those of the rows come later.
        """
        return self.runtime.run(task, text, replace(self.caller, rows=None, part=True))

    def fail(self, task: Task, text: str, error: SqlllmError) -> None:
        """Raise why a row has no answer, or record that it becomes NULL, as `on_error` says."""
        self.runtime.fail(self.model_for(task), text, error, self.caller)


def key_of(row: str | list[str | None] | None) -> str | None:
    """By what `Call.failures` knows a row: its text; of a list, its JSON."""
    return json.dumps(row, ensure_ascii=False) if isinstance(row, list) else row


def scatter(answers: pa.DictionaryArray, distinct: pa.Array) -> pa.Array:
    """`distinct`, computed from `answers.dictionary`, for every row."""
    return distinct.take(answers.indices)
