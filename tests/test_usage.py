from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlllm
from sqlllm.cli import main
from sqlllm.runtime import usage
from sqlllm.runtime.runs import Job, Runs
from sqlllm.runtime.state import SCHEMA, state
from sqlllm.runtime.usage import Failure, Ledger, Usage
from sqlllm.settings import Settings
from sqlllm.storage import Database


def upper(_: sqlllm.Task, text: str) -> str:
    if text.startswith("bad"):
        msg = f"no answer for {text}"
        raise sqlllm.ModelError(msg)
    return text.upper()


def open_with(fake: sqlllm.FakeModel, **settings: Any) -> sqlllm.Connection:
    return sqlllm.connect(models={"fake": fake}, model="fake", progress=False, **settings)


PROCESS = """
import os, sys, sqlllm
def fn(task, text):
    if text == "bad":
        raise sqlllm.ModelError("no answer")
    return text
fake = sqlllm.FakeModel(fn, batch_size=1)
db = sqlllm.connect(models={"fake": fake}, model="fake", on_error="null", progress=False)
db.execute("SELECT ai.complete(x) FROM (VALUES ('a'), ('b'), ('bad')) t(x)")
if sys.argv[1] == "kill":
    os._exit(9)
"""


def test_usage_and_errors_of_all_processes_are_seen(db: sqlllm.Connection) -> None:
    db.execute("SELECT ai.complete('here')")
    for end in ("exit", "kill"):
        subprocess.run([sys.executable, "-c", PROCESS, end], check=False, timeout=60)
    rows = db.execute(
        "SELECT this_session, function, model, sent, errors, run, cost, "
        "started BETWEEN now() - INTERVAL 1 MINUTE AND now() FROM ai.usage"
    ).fetchall()
    theirs = (False, "complete", "fake", 3)
    assert rows[0] == (True, "complete", "fake", 1, 0, None, None, True)
    assert rows[1] == (*theirs, 1, None, None, True)
    assert rows[2][:4] == theirs  # killed: what was sent had been written
    errors = "SELECT this_session, input, message FROM ai.errors"
    assert db.execute(errors).fetchall()[0] == (False, "'bad'", "no answer")
    assert db.execute("SELECT count(*) FROM ai.usage WHERE this_session").fetchone() == (1,)


def test_without_a_record_there_is_only_what_this_connection_did(tmp_path: Path) -> None:
    fake = sqlllm.FakeModel(upper)
    state = tmp_path / "state.sqlite"
    with open_with(fake, record=False, state_file=str(state)) as db:
        db.execute("SELECT ai.complete('a')")
        assert db.execute("SELECT sent, this_session FROM ai.usage").fetchall() == [(1, True)]
    assert not state.exists()


def test_a_query_over_cached_rows_writes_about_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake, writes = sqlllm.FakeModel(upper), []
    with open_with(fake, rewrite=False) as db:
        db.execute("SELECT ai.complete('row ' || i % 50) FROM range(2000) t(i)").fetchall()
        database = db._installation.runtime.ledger._database
        write = database.write
        monkeypatch.setattr(database, "write", lambda work: (writes.append(1), write(work))[1])
        started = time.monotonic()
        db.execute("SELECT count(ai.complete('row ' || i % 50)) FROM range(400000) t(i)").fetchall()
        assert len(writes) <= time.monotonic() - started + 1
        total = "SELECT sum(rows), sum(sent) FROM ai.usage"
        assert db.execute(total).fetchall() == [(402_000, 50)]


def test_threads_lose_nothing(tmp_path: Path) -> None:
    ledger = Ledger(Database(tmp_path / "state.sqlite", SCHEMA))

    def work(number: int) -> None:
        for _ in range(200):
            entry = Usage(number % 3, "complete", "fake", rows=1)
            ledger.add(entry)
            entry.sent, entry.cost = 2, 0.5
            ledger.add(entry)  # what was noted before is not counted twice
            ledger.fail(Failure(number, "complete", "fake", "x", "why"))
            ledger.flush()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = Ledger(Database(tmp_path / "state.sqlite", SCHEMA)).usage()
    counts = [(r["query_id"], r["rows"], r["sent"], r["cost"]) for r in rows]
    assert sorted(counts) == [(n, 400, 800, 200.0) for n in range(3)]
    assert len(ledger.failures()) == 1200


def test_a_file_that_can_not_be_written_warns_once_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fake = sqlllm.FakeModel(upper)
    state = str(tmp_path / "file" / "state.sqlite")
    with open_with(fake, state_file=state, on_error="null") as db:
        with pytest.warns(sqlllm.StorageWarning, match="are kept in this process only"):
            db.execute("SELECT ai.complete('first')")
        for text in ("a", "b", "bad"):
            db.execute(f"SELECT ai.complete('{text}')")
        assert db.execute("SELECT sum(sent), bool_and(this_session) FROM ai.usage").fetchall() == [
            (4, True)
        ]
        assert db.execute("SELECT count(*) FROM ai.errors").fetchone() == (1,)


def test_each_time_that_a_file_can_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "state.sqlite", SCHEMA)
    ledger = Ledger(database)
    monkeypatch.setattr(Ledger, "PATIENCE", 0)

    def full(_: object) -> None:
        msg = "the disk is full"
        raise sqlllm.StorageError(msg)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(database, "write", full)
            ledger.add(Usage(1, "complete", "fake", rows=1))
            with pytest.warns(sqlllm.StorageWarning, match="the disk is full"):
                ledger.flush()
            ledger.flush()  # once
        ledger.flush()


def test_old_rows_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "state.sqlite", SCHEMA)
    ledger, now = Ledger(database), time.time()
    for number, age in enumerate((100, 80, 1, -5)):  # the last: a clock that went backwards
        ledger.add(Usage(number, "complete", "fake", rows=1, started=now - age * 86400))
        ledger.fail(Failure(number, "complete", "fake", "x", "why"))
    ledger.flush()
    assert [row["query_id"] for row in ledger.usage()] == [1, 2, 3]
    monkeypatch.setattr(Ledger, "KEPT", 2)
    later = Ledger(database)
    later.add(Usage(9, "complete", "fake", rows=1, started=now))
    later.flush()
    assert [row["query_id"] for row in later.usage()] == [9, 3]


def test_one_query_that_fails_for_many_rows_keeps_the_file_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "KEPT", 50)
    monkeypatch.setattr(Ledger, "DROP", 20)
    ledger = Ledger(Database(tmp_path / "state.sqlite", SCHEMA))
    for number in range(30):  # batches
        for _ in range(10):
            ledger.fail(Failure(1, "complete", "fake", str(number), "why"))
        ledger.flush()
    inputs = [row["input"] for row in ledger.failures()]
    assert 50 <= len(inputs) <= 80
    assert inputs[-1] == "29"


def test_runs_of_long_ago_are_dropped_and_the_others_found_in_a_few_steps(tmp_path: Path) -> None:
    """Each run was looked for in all of usage: a job began after a minute, once there were many."""
    settings = Settings(state_file=str(tmp_path / "state.sqlite"))
    ledger, runs, job = Ledger(state(settings)), Runs(settings), Job("job", "file")
    for age in range(120):
        run = runs.begin(job, "script", 1, "")
        runs.update(
            run, started=time.time() - age * 86400, state="running" if age == 100 else "done"
        )
    for number in range(3000):
        ledger.run = str(number)
        ledger.add(Usage(number, "complete", "fake", rows=1))
    last = ledger.run = runs.begin(job, "script", 1, "")
    ledger.add(Usage(3000, "complete", "fake", rows=7))
    ledger.flush()
    steps: list[int] = []
    state(settings).read(lambda con: con.set_progress_handler(lambda: steps.append(1), 1000))
    found = runs.rows()
    assert len(found) == 92
    assert next(row["rows"] for row in found if row["run"] == last) == 7
    assert len(steps) < 500


def test_a_clock_that_goes_backwards_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = sqlllm.FakeModel(upper)
    with open_with(fake, budgets={"day": {"max_calls": 10}}) as db:
        db.execute("SELECT ai.complete('a')")
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() - 3 * 86400)
        db.execute("SELECT ai.complete('b')")
        rows = db.execute("SELECT started, seconds >= 0 FROM ai.usage").fetchall()
    assert len(rows) == 2
    assert rows[0][0] < datetime.now(UTC) - timedelta(days=2) < rows[1][0]
    assert all(right for _, right in rows)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests' threads
def test_a_fork_is_a_session_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(Database(tmp_path / "state.sqlite", SCHEMA))
    ledger.add(Usage(1, "complete", "fake", rows=1))
    child = os.fork()
    if child == 0:
        ledger.add(Usage(2, "complete", "fake", rows=10))
        ledger.flush()
        os._exit(0)
    os.waitpid(child, 0)
    rows = ledger.usage()
    assert {(r["query_id"], r["rows"], r["this_session"]) for r in rows} == {
        (1, 1, True),
        (2, 10, False),
    }


def test_installing_again_with_another_state_file(tmp_path: Path) -> None:
    con = duckdb.connect()
    fake = sqlllm.FakeModel(upper)
    for name in ("one", "two"):
        state = str(tmp_path / f"{name}.sqlite")
        sqlllm.install(con, models={"fake": fake}, model="fake", state_file=state)
        con.execute(f"SELECT ai.complete('{name}')").fetchall()
        assert con.execute("SELECT sum(sent), sum(cached) FROM ai.usage").fetchone() == (1, 0)
        con.execute(f"SELECT ai.complete('{name}')").fetchall()  # noted where it was asked
    con.close()


def test_what_is_cached_costs_nothing_and_what_has_no_price_is_not_free() -> None:
    fake = sqlllm.FakeModel(upper)
    for prices, costs in (({"fake": {"input": 1e6, "output": 0}}, [1.0, 0.0]), ({}, [None])):
        with open_with(fake, prices=prices) as db:
            for _ in costs:
                db.execute("SELECT ai.complete('a')")
            query = "SELECT cost FROM ai.usage WHERE this_session ORDER BY started"
            assert [cost for (cost,) in db.execute(query).fetchall()] == costs


def test_installing_again_without_a_record(tmp_path: Path) -> None:
    con, fake, state = duckdb.connect(), sqlllm.FakeModel(upper), str(tmp_path / "state.sqlite")
    for record in (True, False):
        sqlllm.install(con, models={"fake": fake}, model="fake", state_file=state, record=record)
        con.execute(f"SELECT ai.complete('{record}')").fetchall()
        assert con.execute("SELECT sum(sent) FROM ai.usage").fetchone() == (1,)
    con.close()
    assert [row["sent"] for row in Ledger(Database(tmp_path / "state.sqlite", SCHEMA)).usage()] == [
        1
    ]


def test_cli_usage(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    fake = sqlllm.FakeModel(upper)
    prices = {"fake": {"input": 1_000_000, "output": 2_000_000}}
    with sqlllm.connect(
        models={"fake": fake, "other": sqlllm.FakeModel(lambda task, text: "y")},
        model="fake",
        prices=prices,
        progress=False,
    ) as db:
        db.execute("SELECT ai.complete('two words'), ai.complete('one')")
        db._installation.runtime.ledger.run = "a-run"
        db.execute("SELECT ai.complete('one'), ai.classify('x', ['x', 'y'], model := 'other')")
    ledger = usage.Ledger(db._installation.runtime.ledger._database)
    ledger.add(Usage(1, "embed", "old", rows=5, started=time.time() - 3 * 86400))
    ledger.flush()

    def told(*given: str) -> Any:
        assert main(["usage", *given, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert [row["rows"] for row in told()] == [5, 4]
    (today,) = told("--days", "2")
    assert (today["sent"], today["cached"], today["cost"]) == (3, 1, 7.0)
    by_model = {row["model"]: row["sent"] for row in told("--by", "model")}
    assert by_model == {"old": 0, "fake": 2, "other": 1}
    assert {row["run"]: row["rows"] for row in told("--by", "run")} == {"-": 7, "a-run": 2}
    assert [row["function"] for row in told("--by", "function")] == [
        "embed",
        "complete",
        "classify",
    ]
    assert main(["usage", "--by", "model"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("model", "seconds", "fake", "other", "7"))
    for days in ("-3", "0", "1.5"):
        with pytest.raises(SystemExit, match="2"):
            main(["usage", "--days", days])
        assert f"must be a whole number above 0, not '{days}'" in capsys.readouterr().err
