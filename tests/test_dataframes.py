"""Python's variables as tables: `FROM df`, as DuckDB finds them, also after rewriting."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

import sqlllm
import sqlllm.rewrite
from sqlllm import connection, execution, explain, variables

ROWS = {"id": [1, 2, 3, 4], "text": ["a good one", "bad", None, "bad"]}
ASK = "SELECT ai.complete(text) FROM {} ORDER BY id"
ANSWERS = [("A GOOD ONE",), ("BAD",), (None,), ("BAD",)]

everywhere = pl.DataFrame(ROWS)
shadow = pl.DataFrame(ROWS)


def pandas_frame() -> Any:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    if duckdb.__version__ < "2" and pandas.__version__ >= "3":
        pytest.skip("DuckDB 1.4 reads no text of pandas 3")
    return pandas.DataFrame(ROWS)


KINDS: dict[str, Callable[[], Any]] = {
    "polars": lambda: pl.DataFrame(ROWS),
    "polars lazy": lambda: pl.LazyFrame(ROWS),
    "pandas": pandas_frame,
    "arrow table": lambda: pa.table(ROWS),
    "arrow reader": lambda: pa.table(ROWS).to_reader(),
    "arrow dataset": lambda: pyarrow.dataset.dataset(pa.table(ROWS)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["sql", "query", "execute", "from_query"])
def test_every_kind_is_found(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, kind: str, way: str
) -> None:
    df = KINDS[kind]()
    assert getattr(db, way)(ASK.format("df")).fetchall() == ANSWERS
    assert fake.inputs == ["a good one", "bad"]
    if way in ("sql", "execute") and kind != "arrow reader":  # that is read once only
        assert fake.batches == [2]
    del df


def test_a_reader_larger_than_a_chunk_is_read_once(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    reader = pa.table({"text": [f"text {i % 7}" for i in range(9000)]}).to_reader(1000)
    found = db.execute("SELECT count(ai.complete(text)) FROM reader").fetchall()
    assert found == [(9000,)]
    assert len(fake.inputs) == 7
    del reader


class Holder:
    def ask(self, db: sqlllm.Connection) -> Any:
        mine = pl.DataFrame(ROWS)
        return db.sql(ASK.format("mine")).fetchall(), len(mine)


def test_from_where_a_variable_is_found(db: sqlllm.Connection) -> None:
    here = pl.DataFrame(ROWS)
    ask = ASK.format("here")
    assert db.sql(ask).fetchall() == ANSWERS
    assert [db.sql(ask).fetchall() for _ in range(1)] == [ANSWERS]
    assert list(db.execute(ask).fetchall() for _ in range(1)) == [ANSWERS]  # noqa: C400
    assert {n: db.sql(ask).fetchall() for n in "a"} == {"a": ANSWERS}
    assert (lambda: db.sql(ask).fetchall())() == ANSWERS
    assert Holder().ask(db)[0] == ANSWERS
    assert db.sql(ASK.format("everywhere")).fetchall() == ANSWERS
    with db.cursor() as cursor:
        assert cursor.execute(ask).fetchall() == ANSWERS
    assert db.explain(ask, analyze=True).calls[0].distinct == 2
    assert len(here) == 4


def test_from_a_notebooks_cell(db: sqlllm.Connection) -> None:
    cell = f"df = DataFrame(rows)\nfound = [db.sql({ASK.format('df')!r}).fetchall() for _ in '1']"
    namespace: dict[str, Any] = {"DataFrame": pl.DataFrame, "rows": ROWS, "db": db}
    exec(compile(cell, "<cell>", "exec"), namespace)
    assert namespace["found"] == [ANSWERS]


def test_the_innermost_table_wins_and_what_is_none_hides_none(db: sqlllm.Connection) -> None:
    def shadow_of_two() -> Any:
        shadow = pl.DataFrame({"id": [1], "text": ["inner"]})
        return db.sql(ASK.format("shadow")).fetchall(), shadow

    def no_table() -> Any:
        shadow = 5
        return db.sql(ASK.format("shadow")).fetchall(), shadow

    assert shadow_of_two()[0] == [("INNER",)]
    assert no_table()[0] == ANSWERS
    number = 5
    with pytest.raises(Exception, match=r'"number" of type "int".*not suitable'):
        db.sql("FROM number")
    db.execute("CREATE TABLE everywhere AS SELECT 1 AS id, 'a table' AS text")
    assert db.sql(ASK.format("everywhere")).fetchall() == [("A TABLE",)]  # as in DuckDB
    assert number == 5


def test_a_relation_outlives_the_function_that_made_it(db: sqlllm.Connection) -> None:
    def made() -> Any:
        df = pl.DataFrame(ROWS)
        assert len(df) == 4
        return db.sql("SELECT id, ai.complete(text) AS answer FROM df")

    relation = made()
    assert relation.filter("id = 2").fetchall() == [(2, "BAD")]
    assert relation.order("id").fetchall() == [(i, a[0]) for i, a in enumerate(ANSWERS, 1)]


def test_every_statement_finds_them(db: sqlllm.Connection) -> None:
    df = pl.DataFrame(ROWS)
    db.execute("CREATE TABLE t AS SELECT id, ai.complete(text) AS answer FROM df")
    db.execute("INSERT INTO t SELECT id + 4, ai.complete(text) FROM df; DELETE FROM t WHERE id = 1")
    db.execute("UPDATE t SET answer = d.text FROM df d WHERE d.id = t.id")
    found = db.execute("SELECT answer FROM t JOIN df USING (id) ORDER BY id").fetchall()
    assert found == [("bad",), (None,), ("bad",)]
    db.executemany("INSERT INTO t SELECT id, ? FROM df WHERE id = ?", [["x", 1], ["y", 2]])
    assert db.execute("SELECT count(*) FROM t").fetchall() == [(9,)]
    assert len(df) == 4


def test_a_name_that_nothing_has(db: sqlllm.Connection) -> None:
    for query in ("FROM statements", "SELECT ai.complete(text) FROM statements"):
        with pytest.raises(Exception, match="Table with name statements does not exist"):
            db.execute(query)


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def our_names() -> list[str]:
    """Every local, and every global, of the modules whose frames lie between a user and DuckDB."""
    rules = [
        importlib.import_module(f"sqlllm.rewrite.{module.name}")
        for module in pkgutil.iter_modules(sqlllm.rewrite.__path__)
    ]
    found: set[str] = set()
    for module in (connection, execution, explain, variables, sqlllm.rewrite, *rules):
        found |= set(vars(module))
        for thing in vars(module).values():
            members = vars(thing).values() if isinstance(thing, type) else (thing,)
            for member in members:
                function = getattr(member, "__wrapped__", None) or getattr(member, "fget", member)
                if isinstance(function, FunctionType):
                    for code in codes(function.__code__):
                        found |= {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    return sorted(name for name in found if not name.startswith((".", "__")))


def test_no_name_of_ours_hides_a_variable(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    names = our_names()
    assert {"query", "call", "made", "options", "args", "parameters", "statements"} <= set(names)
    assert len(names) > 300
    table = pa.table(ROWS)
    for name in names:
        query = f'SELECT id FROM "{name}"'
        for way in ("sql", "execute"):
            user = {name: table, "db_": db}
            exec(f"found_ = db_.{way}({query!r}).fetchall()", user)
            assert user["found_"] == [(1,), (2,), (3,), (4,)], name


@pytest.mark.parametrize("name", ["query", "call", "made", "lazy", "parameters", "error", "self"])
def test_nor_when_the_statement_is_rewritten(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, name: str
) -> None:
    scope = {name: pa.table(ROWS), "db_": db}
    query = ASK.format(f'"{name}"')
    exec(f"a_ = db_.execute('''{query}''').fetchall()\nb_ = db_.explain('''{query}''')", scope)
    assert scope["a_"] == ANSWERS
    assert fake.batches == [2]
    assert scope["b_"].calls[0].rows == 4
    assert scope["b_"].fired == ("gather",)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("source", ["read_text('{}')", "read_csv('{}', header = true)"])
def test_a_pipe_is_read_once(source: str) -> None:
    if duckdb.__version__ < "2" and "read_text" in source:
        pytest.skip("DuckDB 1.4 reads no text of a pipe")
    code = (
        "import sqlllm; fake = sqlllm.FakeModel(lambda task, text: text.upper());"
        "db = sqlllm.connect(models={'fake': fake}, model='fake', progress=False);"
        f"print(db.execute('''SELECT ai.complete(COLUMNS(lambda c: c IN ('a', 'content'))) "
        f"FROM {source.format('/dev/stdin')}''').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="a,b\nred,1\nblue,2\n", capture_output=True,
        text=True, check=True, timeout=60,
    )  # fmt: skip
    whole = [("A,B\nRED,1\nBLUE,2\n",)]
    assert done.stdout.strip() in (str(whole), str([("RED",), ("BLUE",)]))
