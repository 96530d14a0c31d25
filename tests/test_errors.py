from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlllm
from sqlllm.cli import main
from sqlllm.runtime.memory import POOL


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            "ai.complete('x', model := 'smolm2')",
            sqlllm.UnknownModel,
            "unknown model 'smolm2'\nHint: did you mean `smollm2`?",
        ),
        (
            "ai.classify('x', [])",
            sqlllm.CallError,
            "the list of labels is empty\nHint: give at least two, such as ['billing', 'bug']",
        ),
        (
            "ai.filter('x', NULL)",
            sqlllm.CallError,
            "the question is NULL\n"
            "Hint: write what must hold, such as 'the customer asks for a refund'",
        ),
        (
            "ai.complete('x', stop := ['a', ''])",
            sqlllm.CallError,
            "a stop string is empty: every answer would end before it begins\n"
            "Hint: leave it out, or write one such as '\\n'",
        ),
        (
            "ai.complete('x', temperature := 'nan'::DOUBLE)",
            sqlllm.CallError,
            "temperature must be 0 or more, not nan",
        ),
        (
            "ai.complete('x', temperature := 'inf'::DOUBLE)",
            sqlllm.CallError,
            "temperature must be 0 or more, not inf",
        ),
        (
            "ai.classify('x', ['a', 'b', 'a'])",
            sqlllm.CallError,
            "the label 'a' is given twice\nHint: remove one of them",
        ),
        (
            "ai.classify('x', 7)",
            sqlllm.CallError,
            "labels must be a list of names or a struct of name and description, not 7\n"
            "Hint: write ['billing', 'bug'] or {'billing': 'invoices', ...}",
        ),
        (
            "ai.classify('x', {'a': 'first', 'b': 2})",
            sqlllm.CallError,
            "label descriptions must be text, not {'a': 'first', 'b': 2}\n"
            "Hint: write {'billing': 'invoices and refunds', ...}",
        ),
        (
            "ai.classify('x', ['a'], modle := 'fake')",
            sqlllm.UnknownArgument,
            "ai.classify has no argument 'modle'\nHint: did you mean `model`?",
        ),
        (
            "ai_classify('x', ['a'], modle := 'fake')",
            sqlllm.UnknownArgument,
            "ai.classify has no argument 'modle'\nHint: did you mean `model`?",
        ),
        (
            "ai.clasify('x', ['a'])",
            sqlllm.UnknownFunction,
            "there is no function ai.clasify\nHint: did you mean `classify`?",
        ),
        (
            "ai.classify('x', ['a', NULL])",
            sqlllm.CallError,
            "labels must be text, not NULL\nHint: write ['billing', 'bug'] or {'billing': '...'}",
        ),
        (
            "ai.classify('x', ['a'], examples := ['q'])",
            sqlllm.CallError,
            "examples must be a list of structs of text and label, not ['q']\n"
            "Hint: write [{'text': 'Where is my parcel?', 'label': 'delivery'}]",
        ),
        (
            "ai.complete('x', max_tokens := 'many')",
            sqlllm.CallError,
            "max_tokens must be a whole number, not 'many'",
        ),
        (
            "ai.complete('x', stop := 3)",
            sqlllm.CallError,
            "stop must be text or a list of texts, not 3",
        ),
        (
            "ai.complete('x', on_error := 'ignore')",
            sqlllm.ConfigError,
            "on_error must be 'fail' or 'null', not 'ignore'",
        ),
        (
            "ai.filter('x', '')",
            sqlllm.CallError,
            "the question is empty\n"
            "Hint: write what must hold, such as 'the customer asks for a refund'",
        ),
        (
            "ai.filter('x', 'good?', model := 'minilm')",
            sqlllm.ModelCannot,
            "model 'minilm' can't answer yes/no questions; it can: choose, embed\n"
            "Hint: name a language model: `smollm2`",
        ),
        (
            "ai.embed(repeat('word ', 300), model := 'minilm')",
            sqlllm.InputTooLong,
            "the text 'word word word word word word word word word word word word …' has 302 "
            "tokens; model 'minilm' reads at most 256\n"
            "Hint: add `truncate := true` to read only its beginning",
        ),
    ],
)
def test_messages(
    db: sqlllm.Connection, call: str, kind: type[sqlllm.SqlllmError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        db.execute(f"SELECT {call}").fetchall()
    assert str(caught.value) == message


@pytest.mark.parametrize("wrong", [None, 3, "connection"])
def test_install_on_something_else(db: sqlllm.Connection, wrong: Any) -> None:
    with pytest.raises(sqlllm.ConfigError, match="installed on a connection of DuckDB's, not on"):
        sqlllm.install(db if wrong == "connection" else wrong)


def test_a_row_without_a_text_needs_no_labels(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    """As a LEFT JOIN with a table of texts and labels gives it."""
    rows = "(VALUES ('a', ['a', 'b'], 'q'), (NULL, NULL, NULL)) v(x, l, q)"
    query = f"SELECT ai.classify(x, l), ai.filter(x, q), ai.try_classify(x, l).error FROM {rows}"
    assert db.execute(query).fetchall()[1] == (None, None, None)
    assert db.execute("SELECT ai.classify(NULL, NULL)").fetchall() == [(None,)]
    with pytest.raises(sqlllm.CallError, match="not NULL"):
        db.execute("SELECT ai.classify('a', NULL)")


def test_the_line_of_an_error_is_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    for query, line in (("FROM nope", "LINE 1: FROM nope"), ("SELECT 1,\n  no", "LINE 2:   no")):
        assert main(["sql", query]) == 1
        assert line in capsys.readouterr().err


def test_missing_model_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SQLLLM_HOME", str(tmp_path))
    with (
        sqlllm.connect(models={"other": "smollm2:"}) as db,
        pytest.raises(sqlllm.ModelMissing) as caught,
    ):
        db.execute("SELECT ai.complete('x', model := 'other')")
    assert str(caught.value) == (
        "model 'smollm2' is not on this machine\nHint: run `sqlllm pull smollm2`"
    )


def test_catalog_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "ai.duckdb")
    with pytest.raises(sqlllm.CatalogTaken, match="already has a catalog named 'ai'"):
        sqlllm.connect(path)
    con = duckdb.connect()
    con.execute("CREATE SCHEMA ai")
    with pytest.raises(sqlllm.CatalogTaken, match="already has a schema named 'ai'"):
        sqlllm.install(con)
    con.close()


def test_unknown_setting() -> None:
    with pytest.raises(sqlllm.ConfigError, match="did you mean `model`"):
        sqlllm.connect(modell="x")


def test_a_model_without_a_name(fake: sqlllm.FakeModel) -> None:
    with pytest.raises(sqlllm.ConfigError, match="must be a name or a URI") as caught:
        sqlllm.connect(embed_model=fake)  # type: ignore[arg-type]
    assert "models={'mine': model}, embed_model='mine'" in str(caught.value)


def test_a_failed_row_stops_the_query_or_is_null_and_never_cached() -> None:
    broken = {"b"}

    def fn(task: sqlllm.Task, text: str) -> str:
        if text in broken:
            msg = f"no answer for {text!r}"
            raise sqlllm.ModelError(msg)
        return text.upper()

    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        query = "SELECT ai.complete(x, on_error := '{}') FROM (VALUES ('a'), ('b')) t(x)"
        with pytest.raises(sqlllm.ModelError, match="no answer for 'b'"):
            db.execute(query.format("fail")).fetchall()
        assert db.execute(query.format("null")).fetchall() == [("A",), (None,)]
        assert db.execute("SELECT input, message FROM ai.errors").fetchall() == [
            ("'b'", "no answer for 'b'")
        ]
        broken.clear()
        assert db.execute(query.format("fail")).fetchall() == [("A",), ("B",)]
    assert fake.inputs == ["a", "b", "b", "b"]


def test_any_exception_comes_back_as_it_was() -> None:
    def fn(task: sqlllm.Task, text: str) -> str:
        raise ZeroDivisionError(text)

    fake = sqlllm.FakeModel(fn)
    with (
        sqlllm.connect(models={"fake": fake}, model="fake") as db,
        pytest.raises(ZeroDivisionError, match="q"),
    ):
        db.execute("SELECT ai.complete('q')").fetchall()


def test_what_fails_in_a_view_comes_back_as_it_was(
    db: sqlllm.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usage() -> None:
        msg = "the record can't be read"
        raise sqlllm.StorageError(msg)

    monkeypatch.setattr(db.runtime.ledger, "usage", usage)
    with pytest.raises(sqlllm.StorageError, match="the record can't be read"):
        db.execute("FROM ai.usage").fetchall()


def test_duckdbs_own_errors_come_through(db: sqlllm.Connection) -> None:
    with pytest.raises(duckdb.ParserException, match="syntax error"):
        db.execute("SELECT ai.complete('x' FROM")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"a": "VARCHAR"}, "the schema must be text, not {'a': 'VARCHAR'}"),
        ("{", "the schema is not JSON: Expecting property name enclosed in double quotes"),
        ("[1]", "the schema must be a JSON object, not '[1]'"),
    ],
)
def test_schema(schema: object, message: str) -> None:
    with pytest.raises(sqlllm.CallError) as caught:
        sqlllm.Task("extract", schema=schema)
    first, hint = str(caught.value).split("\n")
    assert first.startswith(message)
    assert hint == (
        """Hint: write JSON Schema as text, such as '{"type": "object", "properties": {...}}'"""
    )


@pytest.mark.parametrize("how", ["Ctrl-C", "interrupt"])
def test_an_interrupted_query_ends_after_a_batch_and_keeps_its_answers(how: str) -> None:
    """Also where DuckDB runs the model on another thread than the one that waits."""
    if how == "Ctrl-C" and duckdb.__version__ < "2":
        pytest.skip("DuckDB 1.4 looks for the signal only when the other thread has ended")
    started = threading.Event()

    def slow(task: sqlllm.Task, text: str) -> str:
        started.set()
        time.sleep(0.002)
        return text

    fake = sqlllm.FakeModel(slow, batch_size=10)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        db.execute("CREATE TABLE t AS SELECT 'text ' || i AS x FROM range(1500) r(i)")

        def stop() -> None:
            started.wait()
            time.sleep(0.05)
            if how == "interrupt":
                db.interrupt()
            else:
                os.kill(os.getpid(), signal.SIGINT)

        before = signal.getsignal(signal.SIGINT)
        for _ in range(4):
            time.sleep(0.2)  # for what still runs of the query before
            started.clear()
            fake.inputs.clear()
            thread = threading.Thread(target=stop)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                db.execute("SELECT ai.complete(x) FROM t").fetchall()
            thread.join()
            assert 0 < len(fake.inputs) < 1000
        assert signal.getsignal(signal.SIGINT) is before
        assert len(db.execute("SELECT ai.complete(x) FROM t").fetchall()) == 1500
        assert len(set(fake.inputs)) < 1500 - 4 * 10  # the answers before were kept


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_loses_no_batch_on_the_waiting_thread_unless_it_comes_twice(times: int) -> None:
    def answer(task: sqlllm.Task, text: str) -> str:
        if len(fake.inputs) == 20:  # the second batch
            signals.append(text)
            if len(signals) <= times:
                signal.raise_signal(signal.SIGINT)
        return text

    signals: list[str] = []
    fake = sqlllm.FakeModel(answer, batch_size=10)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        db.execute("SET threads = 1")  # the model runs on this thread
        db.execute("CREATE TABLE t AS SELECT 'text ' || i AS x FROM range(100) r(i)")
        with pytest.raises(KeyboardInterrupt):
            db.execute("SELECT ai.complete(x) FROM t").fetchall()
        assert len(signals) == (10 if times == 1 else 2)
        assert len(db.execute("SELECT ai.complete(x) FROM t").fetchall()) == 100
    assert len(fake.inputs) == (100 if times == 1 else 110)


@pytest.mark.parametrize("way", ["execute", "sql"])
def test_what_a_failed_query_held_is_free_at_once(way: str) -> None:
    """Its errors held the frames of the query and of the user's, in a circle or for good."""

    class Held: ...

    def fails(_: sqlllm.Task, text: str) -> str:
        msg = f"no answer for {text}"
        raise sqlllm.ModelError(msg)

    def ask(db: sqlllm.Connection) -> weakref.ref[Held]:
        held = Held()
        query = "SELECT ai.complete(repeat('long ', 100) || i) FROM range(5000) r(i)"
        try:
            getattr(db, way)(query).fetchall()
        except (sqlllm.ModelError, duckdb.InvalidInputException):
            return weakref.ref(held)
        raise AssertionError

    fake = sqlllm.FakeModel(fails)
    with sqlllm.connect(models={"fake": fake}, model="fake", progress=False) as db:
        gc.disable()
        try:
            before = POOL.bytes_allocated()
            found = ask(db)
            db.execute("SELECT 1")
            assert found() is None
            assert POOL.bytes_allocated() - before < 1 << 16
        finally:
            gc.enable()
