"""The declaration of a UDF: its name, what it takes and returns, and how DuckDB calls it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial, wraps
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Call, Origin, key_of, scatter
from sqlllm.errors import (
    BudgetExceeded,
    CallError,
    SqlllmError,
    StorageError,
    first_line,
    let_go,
)
from sqlllm.runtime.runtime import Runtime
from sqlllm.together import together

Body = Callable[[Call, pa.Array], pa.Array]
"""Column of text, or of lists of texts, in; column of the declared type out."""

Columns = Callable[..., pa.Array]
"""What DuckDB calls: Arrow columns in, a column out."""


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

    def bind(self, runtime: Callable[[], Runtime]) -> Columns:
        """The function over columns; `runtime` gives the one of now."""

        def udf(text: Any, options: Any, query: Any, connection: Any, stage: Any) -> pa.Array:
            origin = Origin(runtime(), _number(query), _number(connection))
            number = -_number(stage)
            rule = partial(self._collect, number) if number > 0 else self._rows
            return _by_options(partial(rule, origin), text, options)

        return udf

    def answer(
        self, origin: Origin, options: str, text: pa.Array, *, rows: int | None = None
    ) -> pa.Array:
        """The column of answers; `rows` is how many come later, where they are asked ahead."""
        given = json.loads(options)
        if self.tries:
            return self._tried(origin, given, text, rows)
        try:
            return self.body(Call(origin, self.name, given, rows=rows), text)
        except CallError:
            if text.null_count == len(text):  # as of a LEFT JOIN, with its labels
                return pa.nulls(len(text), self.arrow)
            raise

    def _tried(
        self, origin: Origin, given: Mapping[str, Any], text: pa.Array, rows: int | None
    ) -> pa.Array:
        """The answers, and for each row without one why it has none."""
        texts = self.takes == "VARCHAR"
        keys = text if texts else pa.array(map(key_of, text.to_pylist()), pa.string())
        try:
            call = Call(origin, self.name, {**given, "on_error": "null"}, rows=rows)
            values, failures = self.body(call, text), call.failures
        except (BudgetExceeded, StorageError):
            raise  # of the query, not of its rows: what is left was not asked
        except SqlllmError as error:
            values = pa.nulls(len(text), ARROW[self.returns])
            failures = dict.fromkeys(keys.to_pylist(), first_line(error))
        distinct = keys.dictionary_encode()
        errors = [failures.get(key) for key in distinct.dictionary.to_pylist()]
        columns = [values, scatter(distinct, pa.array(errors, pa.string()))]
        return pa.StructArray.from_arrays(columns, names=["value", "error"])

    def _rows(self, origin: Origin, options: str, text: pa.Array) -> pa.Array:
        ahead = origin.statement.ahead((self, options), text)
        together(origin, ahead)
        for (function, given), texts in ahead.items():
            function.answer(origin, given, texts, rows=0)
        answers = self.answer(origin, options, text)
        ran = origin.statement.ran
        if ran is not None:
            values = pc.struct_field(answers, 0) if self.tries else answers
            ran.sample(self.name, options, text, values)
        return answers

    def _collect(self, number: int, origin: Origin, options: str, text: pa.Array) -> pa.Array:
        origin.statement.collect(number, (self, options), text)
        return pa.nulls(len(text), self.arrow)


@dataclass(frozen=True, slots=True)
class ColumnFunction:
    """A UDF that asks nobody: `__ai_<name>` of Arrow columns, NULLs included, to one of them."""

    name: str
    parameters: tuple[str, ...]
    duckdb: str
    body: Callable[..., Any]

    @property
    def udf(self) -> str:
        """The name in `system.main`, which the macros in sql/ call."""
        return f"__ai_{self.name}"

    def bind(self, _: Callable[[], Runtime]) -> Columns:
        """The function over columns."""
        return self.body


@dataclass(frozen=True, slots=True)
class SetFunction(ColumnFunction):
    """A UDF for the rewriter, of two arguments: `__ai_<name>(a, b, query_id, connection_id)`.

    Its body gets where the call comes from and the two arguments: numbers and text as Python
    values, lists as lists of Arrow scalars.
    """

    def bind(self, runtime: Callable[[], Runtime]) -> Columns:
        """The function over columns, which have one row as a rule."""

        def udf(first: Any, second: Any, query: Any, connection: Any) -> pa.Array:
            origin = Origin(runtime(), _number(query), _number(connection))
            rows = zip(first, second, strict=True)
            found = [self.body(origin, _python(a), _python(b)) for a, b in rows]
            return pa.array(found, ARROW[self.duckdb])

        return udf


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


def function(*, returns: str, takes: str = "VARCHAR") -> Callable[[Body], Function]:
    """Declare a UDF from the DuckDB type `takes`, VARCHAR or VARCHAR[], to `returns`."""
    return lambda body: Function(body.__name__, returns, body, takes)


def heard(udf: Callable[..., Any], report: Callable[[BaseException], None]) -> Callable[..., Any]:
    """The function with its columns in one piece each, and `report` told of what it raises, of
    which DuckDB keeps the text only."""

    @wraps(udf)  # DuckDB counts its parameters
    def called(*columns: Any) -> Any:
        try:
            return udf(*map(_one, columns))
        except BaseException as error:
            columns = ()
            let_go(error)
            report(error)
            raise

    return called


def by_value(values: pa.Array, body: Callable[[Any, pa.Array], pa.Array]) -> pa.Array:
    """`body` of each distinct value and its rows; what it gives, in the order of the rows."""
    groups = values.dictionary_encode(null_encoding="encode")
    parts, places = [], []
    for i, value in enumerate(groups.dictionary.to_pylist()):
        rows = pc.indices_nonzero(pc.equal(groups.indices, i))
        parts.append(body(value, rows))
        places.append(rows)
    if not parts:
        return pa.nulls(0)
    return pa.concat_arrays(parts).take(pc.sort_indices(pa.concat_arrays(places)))


def _by_options(body: Callable[[str, pa.Array], pa.Array], text: pa.Array, options: Any) -> Any:
    """One call per distinct options: one as a rule, more when they come from columns."""
    first = options[0].as_py() if len(options) else None
    if first is not None and _all_are(first, options):
        return body(first, text)
    return by_value(options, lambda given, rows: body(given, text.take(rows)))


def _all_are(first: str, options: pa.Array) -> bool:
    if len(first) * len(options) < KEPT:
        return bool(options.equals(_repeated(first, len(options))))
    return bool(pc.all(pc.equal(options, first), skip_nulls=False).as_py())


KEPT = 1 << 20
"""Characters of a column of options that is kept, to compare others with: a tenth of the time where
they are short. Many labels or examples would take gigabytes, for good."""


@lru_cache(maxsize=16)
def _repeated(options: str, rows: int) -> pa.Array:
    return pa.repeat(options, rows)


def _one(column: Any) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies


def _number(column: Any) -> int:
    """The first value, which holds for the whole chunk; 0 for NULL, and for no query: DuckDB 1.4
    says 2**64 - 1 where it computes a constant before the query has a number."""
    value = int(column[0].as_py() or 0) if len(column) else 0
    return value if value < 1 << 63 else 0


def _python(value: Any) -> Any:
    if isinstance(value, pa.ListScalar):
        return [] if value.values is None else list(value.values)
    return value.as_py()
