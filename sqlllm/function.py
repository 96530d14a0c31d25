"""The declaration of a UDF: its name, what it returns, and how a call reaches the runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import CallError
from sqlllm.runtime.runtime import Caller, Runtime
from sqlllm.settings import check_on_error
from sqlllm.task import Task

Body = Callable[["Call", pa.Array], pa.Array]
"""Column of text in, column of the declared type out."""


@dataclass(frozen=True, slots=True)
class Function:
    """A UDF as DuckDB registers it: `__ai_<name>(text, options, query_id)`."""

    name: str
    returns: str
    body: Body

    parameters = ("VARCHAR", "VARCHAR", "UBIGINT")

    @property
    def udf(self) -> str:
        """The name in `system.main`, which the macros in sql/ call."""
        return f"__ai_{self.name}"

    def bind(self, runtime: Callable[[], Runtime]) -> Callable[..., pa.Array]:
        """The function that DuckDB calls with Arrow columns; `runtime` gives the one of now."""

        def udf(text: Any, options: Any, query_id: Any) -> pa.Array:
            body = partial(_call, self, runtime(), _query_id(query_id))
            return _by_options(body, _one(text), _one(options))

        return udf


@dataclass(frozen=True, slots=True)
class SetFunction:
    """A UDF that sees all rows at once, as lists, and names some: `__ai_<name>(a, b, query_id)`.

    For the rewriter. Its body gets the runtime, the query's number and the two arguments: numbers
    and text as Python values, lists as lists of Arrow scalars.
    """

    name: str
    parameters: tuple[str, ...]
    body: Callable[..., Any]

    returns = "BIGINT[]"

    @property
    def udf(self) -> str:
        """The name in `system.main`, which rewritten queries call."""
        return f"__ai_{self.name}"

    def bind(self, runtime: Callable[[], Runtime]) -> Callable[..., pa.Array]:
        """The function that DuckDB calls with Arrow columns, as a rule of one row."""

        def udf(first: Any, second: Any, query_id: Any) -> pa.Array:
            number = _query_id(query_id)
            rows = zip(_one(first), _one(second), strict=True)
            found = [self.body(runtime(), number, _python(a), _python(b)) for a, b in rows]
            return pa.array(found, pa.list_(pa.int64()))

        return udf


def set_function(*parameters: str) -> Callable[[Callable[..., Any]], SetFunction]:
    """Declare a UDF over lists, with the DuckDB types of its two parameters."""
    return lambda body: SetFunction(body.__name__, (*parameters, "UBIGINT"), body)


def reporting(
    udf: Callable[..., pa.Array], report: Callable[[BaseException], None]
) -> Callable[..., pa.Array]:
    """`udf`, telling `report` of every exception, since DuckDB keeps its text only."""

    def reported(first: Any, second: Any, query_id: Any) -> pa.Array:
        try:
            return udf(first, second, query_id)
        except BaseException as error:
            report(error)
            raise

    return reported


def function(*, returns: str) -> Callable[[Body], Function]:
    """Declare a UDF that returns the DuckDB type `returns`."""
    return lambda body: Function(body.__name__, returns, body)


class Call:
    """One call of a function: its options, and the way to the runtime.

    Args:
        runtime: Where tasks run.
        function: The function's name.
        options: What the macro packed: instruction and common options by name, NULL as None.
        query_id: DuckDB's number of the query.
    """

    def __init__(
        self, runtime: Runtime, function: str, options: Mapping[str, Any], query_id: int
    ) -> None:
        self.runtime = runtime
        self.options = options
        on_error = options.get("on_error")
        if on_error is not None:
            check_on_error(on_error)
        self.caller = Caller(function, query_id, self.text("model") or None, on_error)

    def text(self, name: str) -> str:
        """An option that is text; '' when it is NULL."""
        value = self.options.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            msg = f"{name} must be text, not {value!r}"
            raise CallError(msg)
        return value

    def task(self, **parts: Any) -> Task:
        """A task with the common options of this call."""
        return Task(
            **parts,
            temperature=float(self._typed("temperature", (int, float), "a number") or 0),
            max_tokens=self._typed("max_tokens", (int,), "a whole number"),
            seed=self._typed("seed", (int,), "a whole number") or 0,
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


def scatter(answers: pa.DictionaryArray, distinct: pa.Array) -> pa.Array:
    """`distinct`, computed from `answers.dictionary`, for every row."""
    return distinct.take(answers.indices)


def _call(fn: Function, runtime: Runtime, query_id: int, options: str, text: pa.Array) -> pa.Array:
    return fn.body(Call(runtime, fn.name, json.loads(options), query_id), text)


def _by_options(body: Callable[[str, pa.Array], pa.Array], text: pa.Array, options: Any) -> Any:
    """One call per distinct options: one as a rule, more when they come from columns."""
    groups = options.dictionary_encode()
    if len(groups.dictionary) == 1:
        return body(groups.dictionary[0].as_py(), text)
    parts, places = [], []
    for i, value in enumerate(groups.dictionary):
        rows = pc.indices_nonzero(pc.equal(groups.indices, i))
        parts.append(body(value.as_py(), text.take(rows)))
        places.append(rows)
    order = pc.sort_indices(pa.concat_arrays(places)) if places else pa.array([], pa.uint64())
    return pa.concat_arrays(parts).take(order) if parts else pa.nulls(0)


def _one(column: Any) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _query_id(column: Any) -> int:
    return int(column[0].as_py()) if len(column) else 0


def _python(value: Any) -> Any:
    if isinstance(value, pa.ListScalar):
        return [] if value.values is None else list(value.values)
    return value.as_py()
