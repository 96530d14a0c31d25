from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import sqlllm
from sqlllm.runtime.asking import Caller
from sqlllm.runtime.cache import BlockCache
from sqlllm.runtime.flight import Flights, Ticket
from sqlllm.runtime.keys import Lane
from sqlllm.runtime.runtime import Runtime


def test_an_answer_that_lands_after_the_look_up_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third look-up is answered as if another thread's answer had not landed yet."""
    lookups, find = [], BlockCache.find

    def late(cache: BlockCache, lane: Lane, keys: Any) -> Any:
        lookups.append(lane)
        return pa.nulls(len(keys), pa.binary()) if len(lookups) == 3 else find(cache, lane, keys)

    monkeypatch.setattr(BlockCache, "find", late)
    fake = sqlllm.FakeModel(lambda task, text: text.upper())
    runtime = Runtime(sqlllm.Settings(models={"fake": fake}, model="fake", progress=False))
    for _ in range(2):  # look-ups 1 and 2, then 3 and 4
        answers = runtime.run(sqlllm.Task("complete"), pa.array(["a", None]), Caller("complete"))
        assert answers.to_pylist() == ["A", None]
    assert fake.inputs == ["a"]
    assert len(lookups) == 4


def test_what_an_interrupted_thread_wanted_is_not_computed_by_the_next() -> None:
    flights, computed = Flights(), []

    def interrupted(waiting: list[Ticket]) -> None:
        raise KeyboardInterrupt

    def compute(waiting: list[Ticket]) -> None:
        computed.extend(ticket.text for ticket in waiting)
        for ticket in waiting:
            ticket.land(pa.array([b""]), 0)

    hold, started = threading.Event(), threading.Event()

    def first() -> None:
        def wait(waiting: list[Ticket]) -> None:
            started.set()
            hold.wait(10)
            compute(waiting)

        flights.fly(b"lane", [(b"0", "zero")], wait)

    def second() -> None:
        with pytest.raises(KeyboardInterrupt):
            flights.fly(b"lane", [(b"1", "one"), (b"2", "two")], interrupted)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    started.wait(10)
    threads[1].start()
    hold.set()
    for thread in threads:
        thread.join()
    assert flights.fly(b"lane", [(b"2", "two")], compute)[0].done
    assert computed == ["zero", "two"]


def test_flights_that_have_landed_leave_nothing_behind() -> None:
    flights, computed = Flights(), []

    def compute(waiting: list[Ticket]) -> None:
        computed.extend(ticket.text for ticket in waiting)
        for ticket in waiting:
            ticket.fail(sqlllm.ModelError("no answer"))

    for _ in range(2):  # a failure is asked again
        flights.fly(b"lane", [(b"1", "one")], compute)
    assert computed == ["one", "one"]
    assert not flights._lanes


def test_who_waits_for_another_threads_batches_is_interrupted_at_once() -> None:
    """Both ask the same; the other one's call has many batches to go."""
    free, asked = threading.Event(), threading.Event()

    def slow(task: sqlllm.Task, text: str) -> str:
        asked.set()
        free.wait(0.05 if text.startswith("many") else 0)
        return text.upper()

    fake = sqlllm.FakeModel(slow, batch_size=1)
    ended: list[BaseException] = []

    def wait(db: sqlllm.Connection) -> None:
        try:
            db.execute("SELECT ai.complete('one')")
        except BaseException as error:
            ended.append(error)

    with sqlllm.connect(models={"fake": fake}, model="fake", progress=False) as db:
        first, second = db.cursor(), db.cursor()
        query = "SELECT ai.complete('many ' || i) FROM range(400) r(i)"
        many = threading.Thread(target=first.execute, args=(query,))
        one = threading.Thread(target=wait, args=(second,))
        many.start()
        asked.wait(10)
        one.start()
        time.sleep(0.5)
        second.interrupt()
        one.join(5)
        assert [type(error) for error in ended] == [KeyboardInterrupt]
        assert len(fake.inputs) < 400
        free.set()
        many.join()
    assert "one" not in fake.inputs


def test_an_interrupt_of_nothing_ends_nothing_later(db: sqlllm.Connection) -> None:
    db.execute("CREATE TABLE t (x VARCHAR)")
    db.interrupt()
    db.executemany("INSERT INTO t VALUES (ai.complete(?))", [["a"], ["b"]])
    assert db.execute("FROM t").fetchall() == [("A",), ("B",)]


def test_a_closed_connection_leaves_nothing_behind() -> None:
    with sqlllm.connect() as db:
        cursor = db.cursor()
        cursor.execute("SELECT 1").fetchall()
        cursor.close()
        assert not db.runtime.statements.contexts


def test_connections_that_nobody_closes_leave_little_behind(db: sqlllm.Connection) -> None:
    statements, history = db.runtime.statements, db.history
    statements.KNOWN, history.KEPT = 3, 4  # type: ignore[misc]
    for i in range(8):
        db.cursor().execute(f"SELECT ai.complete('{i}')")
    assert len(statements.contexts) <= 3
    assert len(history._now) <= 4


def test_wrong_statements_are_not_remembered(db: sqlllm.Connection) -> None:
    db.execute("CREATE TABLE t AS SELECT 'a' AS x")
    for i in range(3):
        with pytest.raises(duckdb.BinderException):
            db.execute(f"SELECT ai.complete(x), nope{i} FROM t")
    assert db.refused == frozenset()


def test_a_statement_that_runs_is_not_let_go_for_others() -> None:
    """Its inputs were asked again, in chunks, where no cache had the answers."""
    begun, others = threading.Event(), threading.Event()

    def answer(_: sqlllm.Task, text: str) -> str:
        if text.startswith("row"):
            begun.set()
            assert others.wait(5)
        return text

    fake = sqlllm.FakeModel(answer, batch_size=5000)
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off", progress=False) as db:
        db.runtime.statements.KEPT = 3  # type: ignore[misc]
        query = "SELECT count(ai.complete('row ' || i)) FROM range(3000) r(i)"
        thread = threading.Thread(target=db.cursor().execute, args=(query,))
        thread.start()
        assert begun.wait(20)
        for i in range(5):
            db.cursor().execute(f"SELECT ai.complete('{i}', system := 'another question')")
        others.set()
        thread.join()
        assert (len(fake.inputs), fake.batches[0]) == (3005, 3000)


@pytest.mark.parametrize("cursor", ["db", "db.cursor()", "sqlllm.connect(**given).cursor()"])
def test_a_process_ends_while_a_daemon_thread_asks(cursor: str) -> None:
    """Python ended the thread within DuckDB, which aborted; the batches so far are kept."""
    code = f"""
import threading, time, sqlllm
fake = sqlllm.FakeModel(lambda task, text: time.sleep(0.05) or text, batch_size=2)
given = {{"models": {{"fake": fake}}, "model": "fake", "progress": False}}
db = sqlllm.connect(**given)
threading.excepthook = lambda error: print(error.exc_type.__name__, len(fake.inputs) < 100)
query = "SELECT ai.complete('row ' || i) FROM range(1000) r(i)"
threading.Thread(target={cursor}.execute, args=(query,), daemon=True).start()
while len(fake.inputs) < 10:
    time.sleep(0.01)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "KeyboardInterrupt True\n", "")


def test_a_model_that_loses_inputs_is_an_error() -> None:
    class Lossy(sqlllm.FakeModel):
        def complete(self, task, inputs):  # type: ignore[no-untyped-def]
            yield from super().complete(task, inputs[:1])

    fake = Lossy(lambda task, text: text)
    with (
        sqlllm.connect(models={"fake": fake}, model="fake") as db,
        pytest.raises(sqlllm.ModelError, match="left 1 of 2 inputs without an answer"),
    ):
        db.execute("SELECT ai.complete(x) FROM (VALUES ('a'), ('b')) t(x)")
