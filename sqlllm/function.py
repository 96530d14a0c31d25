"""The declaration of a UDF: its name, what it returns, and how a call reaches the runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial, wraps
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import CallError, SqlllmError, first_line
from sqlllm.runtime.runtime import Caller, Runtime
from sqlllm.runtime.statement import Statement
from sqlllm.settings import check_on_error
from sqlllm.task import Task

Body = Callable[["Call", pa.Array], pa.Array]
"""Column of text, or of lists of texts, in; column of the declared type out."""


Report = Callable[[BaseException], None]
"""Told of every exception inside a UDF, since DuckDB keeps its text only."""


@dataclass(frozen=True, slots=True)
class Function:
    """A UDF as DuckDB registers it: `__ai_<name>(text, options, query_id, connection_id, stage)`.

    The stage is the rewriter's. NULL, or true: answer now. -n: collect the texts under the number
    n, to be answered by `ai._answer(n, ...)`, and return NULL. A function that takes lists only
    collects to be counted (`ai._estimate`).
    """

    name: str
    returns: str
    body: Body
    takes: str = "VARCHAR"
    tries: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """The DuckDB types of its arguments."""
        return (self.takes, "VARCHAR", "UBIGINT", "UBIGINT", "BIGINT")

    @property
    def udf(self) -> str:
        """The name in `system.main`, which the macros in sql/ call."""
        return f"__ai_try_{self.name}" if self.tries else f"__ai_{self.name}"

    @property
    def arrow(self) -> pa.DataType:
        """The type of its column."""
        value = ARROW[self.returns]
        return pa.struct({"value": value, "error": pa.string()}) if self.tries else value

    @property
    def trying(self) -> Function:
        """Its twin behind `ai.try_<name>`: STRUCT(value, error), and no row stops a query."""
        return replace(self, tries=True)

    @property
    def duckdb(self) -> str:
        """The DuckDB type of its column."""
        return f"STRUCT(value {self.returns}, error VARCHAR)" if self.tries else self.returns

    def bind(self, runtime: Callable[[], Runtime], report: Report) -> Callable[..., pa.Array]:
        """The function that DuckDB calls with Arrow columns; `runtime` gives the one of now."""

        def udf(text: Any, options: Any, query: Any, connection: Any, stage: Any) -> pa.Array:
            with _reporting(report):
                origin = Origin(runtime(), _number(query), _number(connection))
                number = -_number(stage)
                rule = partial(self._collect, number) if number > 0 else self._rows
                run = partial(rule, origin)
                return _by_options(run, _one(text), _one(options))

        return udf

    def answer(
        self, origin: Origin, options: str, text: pa.Array, *, rows: int | None = None
    ) -> pa.Array:
        """The column of answers; `rows` is how many come later, where they are asked ahead."""
        given = json.loads(options)
        if not self.tries:
            return self.body(Call(origin, self.name, given, rows=rows), text)
        failures: dict[str, str] = {}
        keys = text if self.takes == "VARCHAR" else pa.array(map(key_of, text.to_pylist()), TEXT)
        try:
            call = Call(origin, self.name, {**given, "on_error": "null"}, rows=rows)
            failures = call.failures
            values = self.body(call, text)
        except SqlllmError as error:
            values = pa.nulls(len(text), ARROW[self.returns])
            failures = dict.fromkeys(pc.unique(keys.drop_null()).to_pylist(), first_line(error))
        distinct = keys.dictionary_encode()
        errors = [failures.get(value) for value in distinct.dictionary.to_pylist()]
        return pa.StructArray.from_arrays(
            [values, scatter(distinct, pa.array(errors, pa.string()))], names=["value", "error"]
        )

    def _rows(self, origin: Origin, options: str, text: pa.Array) -> pa.Array:
        ahead = origin.statement.ahead((self, options), text)
        if ahead is not None:
            self.answer(origin, options, ahead, rows=0)
        return self.answer(origin, options, text)

    def _collect(self, number: int, origin: Origin, options: str, text: pa.Array) -> pa.Array:
        origin.statement.collect(number, (self, options), text)
        return pa.nulls(len(text), self.arrow)


@dataclass(frozen=True, slots=True)
class ColumnFunction:
    """A UDF that asks nobody: `__ai_<name>` of Arrow columns, NULLs included, to one of them."""

    name: str
    parameters: tuple[str, ...]
    duckdb: str
    body: Callable[..., pa.Array]

    @property
    def udf(self) -> str:
        """The name in `system.main`, which the macros in sql/ call."""
        return f"__ai_{self.name}"

    def bind(self, _: Callable[[], Runtime], report: Report) -> Callable[..., pa.Array]:
        """The function that DuckDB calls with Arrow columns."""

        @wraps(self.body)  # DuckDB counts its parameters
        def udf(*columns: Any) -> pa.Array:
            with _reporting(report):
                return self.body(*map(_one, columns))

        return udf


@dataclass(frozen=True, slots=True)
class SetFunction:
    """A UDF for the rewriter, of two arguments: `__ai_<name>(a, b, query_id, connection_id)`.

    Its body gets where the call comes from and the two arguments: numbers and text as Python
    values, lists as lists of Arrow scalars.
    """

    name: str
    parameters: tuple[str, ...]
    duckdb: str
    body: Callable[..., Any]

    @property
    def udf(self) -> str:
        """The name in `system.main`, which rewritten queries call."""
        return f"__ai_{self.name}"

    def bind(self, runtime: Callable[[], Runtime], report: Report) -> Callable[..., pa.Array]:
        """The function that DuckDB calls with Arrow columns, as a rule of one row."""

        def udf(first: Any, second: Any, query: Any, connection: Any) -> pa.Array:
            with _reporting(report):
                origin = Origin(runtime(), _number(query), _number(connection))
                rows = zip(_one(first), _one(second), strict=True)
                found = [self.body(origin, _python(a), _python(b)) for a, b in rows]
                return pa.array(found, ARROW[self.duckdb])

        return udf


TEXT = pa.string()

ARROW: Mapping[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "BIGINT[]": pa.list_(pa.int64()),
    "BOOLEAN": pa.bool_(),
    "DOUBLE": pa.float64(),
    "FLOAT[]": pa.list_(pa.float32()),
    "STRUCT(a VARCHAR, b VARCHAR)[]": pa.list_(pa.struct({"a": pa.string(), "b": pa.string()})),
    "STRUCT(label VARCHAR, score DOUBLE)[]": pa.list_(
        pa.struct({"label": pa.string(), "score": pa.float64()})
    ),
    "STRUCT(flagged BOOLEAN, category VARCHAR, score DOUBLE)": pa.struct(
        {"flagged": pa.bool_(), "category": pa.string(), "score": pa.float64()}
    ),
    'STRUCT(chunk VARCHAR, start BIGINT, "end" BIGINT, tokens BIGINT)[]': pa.list_(
        pa.struct(
            {"chunk": pa.string(), "start": pa.int64(), "end": pa.int64(), "tokens": pa.int64()}
        )
    ),
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
}
"""The DuckDB types that a UDF may return."""


def set_function(*parameters: str, returns: str) -> Callable[[Callable[..., Any]], SetFunction]:
    """Declare a UDF for the rewriter, with the DuckDB types of its two parameters."""
    types = (*parameters, "UBIGINT", "UBIGINT")
    return lambda body: SetFunction(body.__name__, types, returns, body)


def column_function(
    *parameters: str, returns: str
) -> Callable[[Callable[..., pa.Array]], ColumnFunction]:
    """Declare a UDF that asks nobody, with the DuckDB types of its parameters."""
    return lambda body: ColumnFunction(body.__name__, parameters, returns, body)


@contextmanager
def _reporting(report: Report) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        report(error)
        raise


def function(*, returns: str, takes: str = "VARCHAR") -> Callable[[Body], Function]:
    """Declare a UDF from the DuckDB type `takes`, VARCHAR or VARCHAR[], to `returns`."""
    return lambda body: Function(body.__name__, returns, body, takes)


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
            truncate=bool(self._typed("truncate", (bool,), "true or false")),
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
        self.runtime.fail(self.runtime.model_for(task, self.caller.model), text, error, self.caller)


def key_of(row: str | list[str | None] | None) -> str | None:
    """By what `Call.failures` knows a row: its text; of a list, its JSON."""
    return json.dumps(row, ensure_ascii=False) if isinstance(row, list) else row


def scatter(answers: pa.DictionaryArray, distinct: pa.Array) -> pa.Array:
    """`distinct`, computed from `answers.dictionary`, for every row."""
    return distinct.take(answers.indices)


def _by_options(body: Callable[[str, pa.Array], pa.Array], text: pa.Array, options: Any) -> Any:
    """One call per distinct options: one as a rule, more when they come from columns."""
    if len(options) and pc.all(pc.equal(options, options[0]), skip_nulls=False).as_py():
        return body(options[0].as_py(), text)
    groups = options.dictionary_encode()
    parts, places = [], []
    for i, value in enumerate(groups.dictionary):
        rows = pc.indices_nonzero(pc.equal(groups.indices, i))
        parts.append(body(value.as_py(), text.take(rows)))
        places.append(rows)
    order = pc.sort_indices(pa.concat_arrays(places)) if places else pa.array([], pa.uint64())
    return pa.concat_arrays(parts).take(order) if parts else pa.nulls(0)


def _one(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _number(column: Any) -> int:
    """The first value, which holds for the whole chunk; 0 for NULL."""
    return int(column[0].as_py() or 0) if len(column) else 0


def _python(value: Any) -> Any:
    if isinstance(value, pa.ListScalar):
        return [] if value.values is None else list(value.values)
    return value.as_py()
