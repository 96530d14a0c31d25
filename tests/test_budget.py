from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sqlllm
from sqlllm.runtime import budget, usage
from sqlllm.runtime.flight import Flights, Ticket


def upper(_: sqlllm.Task, text: str) -> str:
    return text.upper()


def open_with(fake: sqlllm.FakeModel, **settings: Any) -> sqlllm.Connection:
    return sqlllm.connect(models={"fake": fake}, model="fake", progress=False, **settings)


def ask(db: sqlllm.Connection, rows: int, prefix: str = "row") -> list[Any]:
    query = f"SELECT ai.complete('{prefix} ' || i % {rows}) FROM range({2 * rows}) t(i)"
    return db.execute(query).fetchall()


def test_a_query_sends_as_many_calls_as_it_may_and_the_next_goes_on() -> None:
    fake = sqlllm.FakeModel(upper, batch_size=2)
    with open_with(fake, max_calls=3) as db:
        for done in (3, 6, 9):
            with pytest.raises(sqlllm.BudgetExceeded) as caught:
                ask(db, 10)
            assert len(fake.inputs) == done
            left = 10 - done
            assert f"3 calls per query leaves no room: 3 calls spent, {left} inputs left" in str(
                caught.value
            )
            assert "run it again to go on, or raise max_calls in [budgets.query]" in str(
                caught.value
            )
        assert Counter(ask(db, 10)) == {(f"ROW {i}",): 2 for i in range(10)}
    assert sorted(fake.inputs) == sorted(f"row {i}" for i in range(10))


def test_what_is_cached_is_free() -> None:
    fake = sqlllm.FakeModel(upper)
    with open_with(fake) as db:
        ask(db, 5)
    with open_with(fake, max_calls=0, max_tokens=0, max_seconds=0) as db:
        assert len(ask(db, 5)) == 10
        with pytest.raises(sqlllm.BudgetExceeded):
            ask(db, 6)
    assert len(fake.inputs) == 5


@pytest.mark.parametrize("on_error", ["ai.try_complete(x)", "ai.complete(x, on_error := 'null')"])
def test_a_used_up_budget_is_never_null(on_error: str) -> None:
    fake = sqlllm.FakeModel(upper)
    for rewrite in (True, False):
        with (
            open_with(fake, max_calls=0, on_error="null", rewrite=rewrite) as db,
            pytest.raises(sqlllm.BudgetExceeded),
        ):
            db.execute(f"SELECT {on_error} FROM (VALUES ('a'), ('b')) t(x)").fetchall()
    assert fake.inputs == []


def test_chunks_of_several_threads_share_the_budget_of_their_query() -> None:
    fake = sqlllm.FakeModel(upper, batch_size=100)
    con = duckdb.connect(config={"threads": 4})
    sqlllm.install(con, models={"fake": fake}, model="fake", max_calls=5000, progress=False)
    con.execute("CREATE TABLE t AS SELECT 'row ' || i AS x FROM range(300000) t(i)")
    with pytest.raises(duckdb.InvalidInputException, match="5,000 calls per query"):
        con.execute("SELECT count(ai.complete(x)) FROM t").fetchall()
    assert 0 < len(fake.inputs) <= 5000
    assert len(set(fake.inputs)) == len(fake.inputs)
    con.close()


def test_a_query_does_not_pay_for_what_another_waits_for() -> None:
    started, go_on = threading.Event(), threading.Event()

    def fn(_: sqlllm.Task, text: str) -> str:
        started.set()
        go_on.wait(10)
        return text.upper()

    fake, failed = sqlllm.FakeModel(fn), []
    with open_with(fake, max_calls=4) as db:

        def run(cursor: sqlllm.Connection, prefix: str) -> None:
            try:
                ask(cursor, 4, prefix)
            except sqlllm.SqlllmError as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(db.cursor(), p)) for p in ("a", "b", "c")]
        threads[0].start()
        started.wait(10)
        for thread in threads[1:]:
            thread.start()
        time.sleep(0.2)
        go_on.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert len(fake.inputs) == 12


def test_what_others_wait_for_and_is_too_much_stops_them_alone() -> None:
    flights, started, go_on = Flights(), threading.Event(), threading.Event()
    computed: list[list[str]] = []

    def compute(waiting: list[Ticket]) -> None:
        computed.append([ticket.text for ticket in waiting])
        started.set()
        go_on.wait(10)
        waiting[0].done = True
        if len(waiting) > 1:
            msg = "no room for the second"
            raise sqlllm.BudgetExceeded(msg)

    done = []

    def fly(name: str) -> None:
        done.extend(flights.fly(b"lane", [(name.encode(), name)], compute))

    threads = [threading.Thread(target=fly, args=(name,)) for name in ("first", "a", "b")]
    threads[0].start()
    started.wait(10)
    for thread in threads[1:]:
        thread.start()
    time.sleep(0.2)
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(map(sorted, computed[:2])) == [["a", "b"], ["first"]]
    assert len(computed) == 3
    assert {ticket.text for ticket in done if ticket.done} == {"first", "a", "b"}


def test_a_day_ends_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = sqlllm.FakeModel(upper)
    first = day = date.today()
    monkeypatch.setattr(budget, "today", lambda: str(day))
    for _ in range(3):
        for _ in range(2):  # the second connection of the day sends nothing
            with (
                open_with(fake, budgets={"day": {"max_calls": 4}}) as db,
                pytest.raises(sqlllm.BudgetExceeded, match="4 calls per day"),
            ):
                ask(db, 14)
        day += timedelta(days=1)
        assert len(fake.inputs) == 4 * (day - first).days
    day = first - timedelta(days=9)  # a clock that goes backwards
    with open_with(fake, budgets={"day": {"max_calls": 4}}) as db:
        assert len(ask(db, 14)) == 28
    assert len(fake.inputs) == 14


def test_what_was_asked_before_there_was_a_budget_counts_for_the_day() -> None:
    fake = sqlllm.FakeModel(upper)
    with open_with(fake) as db:
        ask(db, 6)
    with (
        open_with(fake, budgets={"day": {"max_calls": 8}}) as db,
        pytest.raises(sqlllm.BudgetExceeded, match="8 calls spent, 4 inputs left"),
    ):
        ask(db, 12)
    assert len(fake.inputs) == 8


PROCESS = """
import sys, sqlllm
fake = sqlllm.FakeModel(lambda task, text: text.upper(), batch_size=3)
db = sqlllm.connect(models={"fake": fake}, model="fake", budgets={"day": {"max_calls": 500}},
    rewrite=False, progress=False)
try:
    for i in range(100):
        text = f"'{sys.argv[1]} ' || i"
        db.execute(f"SELECT ai.complete({text}) FROM range({i * 7}, {i * 7 + 7}) t(i)")
except sqlllm.BudgetExceeded:
    print(len(fake.inputs))
"""


def test_processes_share_the_budget_of_a_day() -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", PROCESS, name], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in started]
    assert sum(counts) == 500


def test_a_job_is_one_scope_over_its_statements() -> None:
    fake = sqlllm.FakeModel(upper)
    with open_with(fake, budgets={"job": {"max_calls": 5}}) as db:
        ask(db, 6, "no job")
        ledger = db._installation.runtime.ledger
        ledger.run = "first"
        ask(db, 3)
        with pytest.raises(sqlllm.BudgetExceeded, match="5 calls per job"):
            ask(db, 9)
        ledger.run = "second"
        ask(db, 9)
        runs = db.execute(
            "SELECT run, sum(sent) FROM ai.usage GROUP BY run ORDER BY run"
        ).fetchall()
    assert runs == [("first", 5), ("second", 4), (None, 6)]


def test_what_a_failing_model_had_counts_as_asked() -> None:
    def fn(_: sqlllm.Task, text: str) -> str:
        if text == "row 3":
            msg = "out of memory"
            raise RuntimeError(msg)
        return text

    fake = sqlllm.FakeModel(fn)
    with open_with(fake, budgets={"day": {"max_calls": 6}}) as db:
        with pytest.raises(RuntimeError):
            ask(db, 5)
        with pytest.raises(sqlllm.BudgetExceeded):
            ask(db, 3)
    assert len(fake.inputs) == 6


def test_what_a_stopped_query_did_not_send_is_given_back() -> None:
    started = threading.Event()

    def fn(_: sqlllm.Task, text: str) -> str:
        started.set()
        time.sleep(0.02)
        return text

    def interrupt(db: sqlllm.Connection) -> None:
        started.wait(10)
        db.interrupt()

    fake = sqlllm.FakeModel(fn, batch_size=1)
    with open_with(fake, budgets={"day": {"max_calls": 100}}) as db:
        thread = threading.Thread(target=interrupt, args=(db,))
        thread.start()
        with pytest.raises((KeyboardInterrupt, duckdb.InterruptException)):
            ask(db, 100)
        thread.join()
        asked = len(fake.inputs)
        assert asked < 50
        ask(db, 100 - asked, "other")
    assert len(fake.inputs) == 100


Calls = list[tuple[int, int]]


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    limit=st.integers(0, 60),
    batch_size=st.one_of(st.none(), st.integers(1, 20)),
    scope=st.sampled_from(["query", "job", "day"]),
    queries=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=4),
    threads=st.integers(1, 4),
    rewrite=st.booleans(),
)
def test_never_more_calls_than_allowed_and_nothing_is_lost(
    limit: int,
    batch_size: int | None,
    scope: str,
    queries: Calls,
    threads: int,
    rewrite: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Queries over overlapping ranges with duplicates, each on a thread of its own."""
    sent: dict[int, Counter[str]] = {}

    fake = sqlllm.FakeModel(upper, batch_size=batch_size)
    state = str(tmp_path_factory.mktemp("state") / "state.sqlite")
    own = sqlllm.connect(
        models={"fake": fake},
        model="fake",
        budgets={scope: {"max_calls": limit}},
        config={"threads": threads},
        rewrite=rewrite,
        state_file=state,
        progress=False,
    )
    own._installation.runtime.ledger.run = "run"
    finished: dict[int, list[Any]] = {}

    def run(number: int, cursor: sqlllm.Connection) -> None:
        start, count = queries[number]
        text = f"'row ' || ({start} + i % {count})"
        try:
            finished[number] = cursor.execute(
                f"SELECT ai.complete({text}) FROM range({3 * count}) t(i)"
            ).fetchall()
        except sqlllm.BudgetExceeded:
            sent[number] = Counter()

    def together(cursors: list[sqlllm.Connection], target: Callable[..., None]) -> None:
        started = [threading.Thread(target=target, args=pair) for pair in enumerate(cursors)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()

    with own as db:
        together([db.cursor() for _ in queries], run)
        wanted = {f"row {start + i}" for start, count in queries for i in range(count)}
        most = limit * (len(queries) if scope == "query" else 1)
        assert len(fake.inputs) <= most
        assert len(set(fake.inputs)) == len(fake.inputs)  # nothing is asked twice
        if scope != "query":
            assert len(fake.inputs) == min(limit, len(wanted))
        assert set(finished) | set(sent) == set(range(len(queries)))
    with sqlllm.connect(
        models={"fake": fake}, model="fake", state_file=state, progress=False
    ) as db:
        for start, count in queries:
            text = f"'row ' || ({start} + i % {count})"
            rows = db.execute(f"SELECT ai.complete({text}) FROM range({3 * count}) t(i)").fetchall()
            assert Counter(rows) == {(f"ROW {start + i}",): 3 for i in range(count)}
    assert Counter(fake.inputs) == dict.fromkeys(wanted, 1)


def test_a_day_that_can_not_be_counted_is_an_error(tmp_path: Path) -> None:
    fake = sqlllm.FakeModel(upper)
    (tmp_path / "file").write_text("")
    where = str(tmp_path / "file" / "state.sqlite")
    with (
        pytest.warns(sqlllm.StorageWarning, match="kept in this process only"),
        open_with(fake, state_file=where, budgets={"day": {"max_calls": 4}}) as db,
        pytest.raises(sqlllm.StorageError, match="the budget per day can't be kept"),
    ):
        ask(db, 2)
    assert fake.inputs == []
    assert usage.today() == str(date.today())
