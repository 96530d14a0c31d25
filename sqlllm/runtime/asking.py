"""One call on its way to a model: what is asked, on whose behalf, and what came of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlllm.models.base import Model
from sqlllm.runtime.answers import Answers
from sqlllm.runtime.keys import Lane
from sqlllm.runtime.progress import Deferred
from sqlllm.runtime.statement import Statement
from sqlllm.runtime.texts import Texts
from sqlllm.runtime.usage import Usage
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
    failures: dict[str, str] = field(default_factory=dict)
    part: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """One task on one model, on behalf of a caller.

    Attributes:
        lane: The task and the model.
        caller: On whose behalf.
        statement: The statement it belongs to.
        texts: Where its texts have their numbers.
        answers: Where their answers are put.
        usage: What it took so far.
        bar: Shows how far it is.
        total: Its distinct inputs.
        began: When, as `time.perf_counter` tells.
    """

    lane: Lane
    caller: Caller
    statement: Statement
    texts: Texts
    answers: Answers
    usage: Usage
    bar: Deferred
    total: int
    began: float

    @property
    def model(self) -> Model:
        """What answers."""
        return self.lane.model

    @property
    def task(self) -> Task:
        """What is asked."""
        return self.lane.task

    @property
    def is_full(self) -> bool:
        """Whether it is asked ahead of its rows, and the statement may hold no more answers."""
        return self.caller.rows is not None and self.statement.answers_full
