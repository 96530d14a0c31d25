from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import duckdb
import pytest
from conftest import answer
from jobs import Jobs, runs

import sqlllm
from sqlllm.cli import main
from sqlllm.models import registry
from sqlllm.runtime.runs import Job, Runs
from sqlllm.runtime.statement import Statement
from sqlllm.runtime.usage import Ledger
from sqlllm.settings import Settings


def test_a_script_is_one_transaction(jobs: Jobs) -> None:
    script = """
        CREATE TABLE a AS SELECT ai.complete('t' || i) AS x FROM range(5) t(i);
        INSERT INTO a SELECT ai.complete('u');
        SELECT error('stop');
    """
    with pytest.raises(duckdb.Error, match="stop"):
        jobs.run(script)
    assert jobs.tables() == []
    assert len(jobs.fake.inputs) == 6
    done = jobs.run(script.replace("SELECT error('stop')", "DROP TABLE IF EXISTS nothing"))
    assert (done.statements, done.at_once, done.counts.sent, done.counts.cached) == (3, True, 0, 6)
    assert jobs.rows("SELECT count(*), max(x) FROM a") == [(6, "U")]
    assert len(jobs.fake.inputs) == 6
    assert [(r["state"], r["statement"], r["statements"]) for r in runs()] == [
        ("failed", 3, 3),
        ("done", 3, 3),
    ]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("BEGIN; CREATE TABLE a AS SELECT 1 AS x; COMMIT", "a transaction of its own (BEGIN)"),
        ("CREATE TABLE a AS SELECT 1 AS x; CHECKPOINT", "CHECKPOINT"),
        (
            "ATTACH '{folder}/b.duckdb' AS b; CREATE TABLE a AS SELECT ai.complete('x') AS x; "
            "CREATE OR REPLACE TABLE b.a AS FROM a",
            "attached database",
        ),
    ],
)
def test_what_cant_be_one_transaction_is_committed_one_by_one(
    jobs: Jobs, script: str, why: str
) -> None:
    done = jobs.run(script.format(folder=jobs.folder))
    assert not done.at_once
    (note,) = jobs.notes()
    assert note.startswith("statements are committed one by one: ")
    assert why in note
    assert jobs.tables() == ["a"]
    assert len(jobs.fake.inputs) <= 1  # a second attempt asks nothing again


def test_one_by_one_keeps_what_was_done(jobs: Jobs) -> None:
    with pytest.raises(duckdb.Error, match="stop"):
        jobs.run("BEGIN; CREATE TABLE a(x INT); COMMIT; BEGIN; DROP TABLE a; SELECT error('stop')")
    assert jobs.tables() == ["a"]


def test_variables(jobs: Jobs) -> None:
    script = jobs.write("CREATE TABLE v AS SELECT getvariable('a') AS a, getvariable('b') AS b")
    for a, b, expected in [
        ("5", "x'; DROP TABLE v; --", [(5, "x'; DROP TABLE v; --")]),
        ("007", "0.5", [("007", 0.5)]),
        ("-12", "1.50", [(-12, "1.50")]),
    ]:
        jobs.database.unlink(missing_ok=True)
        given = ["--set", f"a={a}", "--set", f"b={b}"]
        assert main(["run", str(script), "-d", str(jobs.database), *given]) == 0
        assert jobs.rows("FROM v") == expected
    jobs.run("CREATE OR REPLACE TABLE v AS SELECT getvariable('l') AS l", variables={"l": [1, 2]})
    assert jobs.rows("FROM v") == [([1, 2],)]


@pytest.mark.parametrize("value", [{1}, 10**40, "\udcff"])
def test_a_variable_that_duckdb_cant_take_is_refused_first(jobs: Jobs, value: Any) -> None:
    with pytest.raises(sqlllm.ConfigError) as caught:
        jobs.run("SELECT ai.complete('x')", variables={"a": value})
    assert str(caught.value).startswith(f"the variable 'a' can't be {value!r}: ")
    assert jobs.fake.inputs == []
    assert runs() == []


def test_a_job_file(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILTIN, "fake", jobs.fake)  # type: ignore[arg-type]
    jobs.write("CREATE TABLE v AS SELECT ai.complete(getvariable('what')) AS x; FROM v")
    path = jobs.write(
        'script = "job.sql"\ndatabase = "w.duckdb"\nname = "nightly"\nmodel = "fake"\n'
        'to = "out.csv"\n[variables]\nwhat = "this"',
        "job.toml",
    )
    monkeypatch.chdir("/")  # paths are relative to the file
    assert sqlllm.run(path).job == "nightly"
    assert (jobs.folder / "out.csv").read_text() == "x\nTHIS\n"
    other = jobs.folder / "other.duckdb"
    sqlllm.run(path, database=str(other), variables={"what": "that"})
    assert (jobs.folder / "out.csv").read_text() == "x\nTHAT\n"
    assert [(r["job"], r["database"]) for r in runs()] == [
        ("nightly", str(jobs.database)),
        ("nightly", str(other)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('script = "job.sql"\ndatabse = "x"', r"'databse'\nHint: did you mean `database`\?"),
        ('database = "x"', 'names no script\nHint: write script = "job.sql"'),
        ('script = "nope.sql"', "there is no script"),
        ("script = ", "not valid TOML"),
        ('script = "job.sql"\noutput = "cvs"', "unknown output 'cvs'\nHint: did you mean `csv`"),
    ],
)
def test_a_wrong_job_file_is_exit_2(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    jobs.write("SELECT 1")
    path = jobs.write(text, "job.toml")
    with pytest.raises(sqlllm.ConfigError, match=message):
        sqlllm.run(path)
    assert main(["run", str(path)]) == 2
    assert capsys.readouterr().err.startswith("sqlllm: ")
    assert runs() == []


def test_exit_codes(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(jobs.write("SELECT 1 AS a"))]) == 0
    assert capsys.readouterr().out.split() == ["┏━━━┓", "┃", "a", "┃", "┡━━━┩", *"│1│", "└───┘"]
    assert main(["run", str(jobs.write("SELECT nope"))]) == 1
    assert main(["run", str(jobs.write("SELECT 1 1 1"))]) == 1
    assert "syntax error" in capsys.readouterr().err
    assert main(["run", str(jobs.folder / "none.sql")]) == 2
    assert main(["run", str(jobs.write("CREATE TABLE a(x INT)")), "--to", "x.csv"]) == 2
    assert "returns no rows" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["run"])


def test_one_run_at_a_time(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    script = jobs.write("SELECT 1")
    job = Job("nightly", str(jobs.database))
    all_runs = Runs(Settings.load())
    call = ["run", str(script), "-d", str(jobs.database), "--name", "nightly"]
    with all_runs.only(job):
        all_runs.begin(job, str(script), 1, "{}")
        assert main(call) == 4
        said = capsys.readouterr().err
        assert f"is running already: process {os.getpid()}, since 20" in said
        assert main([*call[:-1], "weekly"]) == 0
        assert [row["state"] for row in runs()] == ["running", "done"]
    assert [row["state"] for row in runs()] == ["killed", "done"]
    assert main(call) == 0
    assert [row["state"] for row in runs()] == ["killed", "done", "done"]


def test_a_database_that_another_process_has_is_exit_4(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print(); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(jobs.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert main(["run", str(jobs.write("SELECT 1")), "-d", str(jobs.database)]) == 4
        assert "is open in another process" in capsys.readouterr().err
        other.communicate()


def test_a_run_that_was_killed_while_it_committed_is_told(jobs: Jobs) -> None:
    script = jobs.write("SELECT 1")
    job = Job(str(script), str(jobs.database))
    all_runs = Runs(Settings.load())
    with all_runs.only(job):
        all_runs.update(all_runs.begin(job, str(script), 1, "{}"), state="committing")
    jobs.run("SELECT 1")
    assert jobs.notes() == [
        "the run before was killed while it was committing: "
        "look whether its changes are in the database"
    ]
    assert [(row["state"], row["message"]) for row in runs()] == [
        ("killed", "its process ended while it was committing"),
        ("done", None),
    ]


def test_the_view_of_runs(jobs: Jobs, db: sqlllm.Connection) -> None:
    jobs.run("CREATE TABLE a AS SELECT ai.complete('x') AS x")
    (row,) = db.execute(
        "SELECT job, state, ended >= started, statements, json_extract_string(versions, 'duckdb'),"
        " json_extract_string(models, 'fake') FROM ai.runs"
    ).fetchall()
    script = str(jobs.folder / "job.sql")
    assert row == (script, "done", True, 1, duckdb.__version__, jobs.fake.fingerprint)


def test_events(jobs: Jobs, capfd: pytest.CaptureFixture[str]) -> None:
    fake = sqlllm.FakeModel(answer, batch_size=2)
    jobs.fake = fake
    jobs.run("SELECT ai.complete('t' || i) FROM range(5) t(i)")
    kinds = [event["event"] for event in jobs.events]
    assert kinds[:3] == ["run_started", "statement_started", "progress"]
    assert kinds[-2:] == ["statement_done", "run_done"]
    assert jobs.events[0]["statements"] == 1
    done = jobs.events[-1]
    assert (done["rows"], done["distinct_inputs"], done["cached"], done["sent"]) == (5, 5, 0, 5)
    assert done["tokens"] == 10  # five words in, five out
    assert {event["run"] for event in jobs.events} == {runs()[0]["run"]}
    capfd.readouterr()
    assert main(["run", str(jobs.write("SELECT 1 AS a")), "--json", "-o", "json"]) == 0
    said = capfd.readouterr()
    assert said.out == '{"a":1}\n'
    lines = [json.loads(line) for line in said.err.splitlines()]
    assert [line["event"] for line in lines] == [
        "run_started",
        "statement_started",
        "statement_done",
        "run_done",
    ]


def test_no_event_has_a_key_of_the_script(jobs: Jobs) -> None:
    jobs.run("SET VARIABLE token = 'sk-1'; FROM (SELECT 'https://me:pw@a.io/') t")
    told = [event["sql"] for event in jobs.events if event["event"] == "statement_started"]
    assert told == ["SET VARIABLE token = '…'", "FROM (SELECT 'https://…@a.io/') t"]


def test_progress_is_told_now_and_then(jobs: Jobs) -> None:
    jobs.fake = sqlllm.FakeModel(lambda task, text: time.sleep(0.3) or text, batch_size=1)
    jobs.run("SELECT ai.complete('t' || i) FROM range(6) t(i)")
    told = [event for event in jobs.events if event["event"] == "progress"]
    assert 2 <= len(told) <= 4
    last = told[-1]
    assert 0 < last["sent"] <= 6
    assert last["tokens_per_second"] == pytest.approx(2 / 0.3, rel=0.3)
    assert last["seconds_left"] == pytest.approx((6 - last["sent"]) * 0.3, abs=0.4)


def test_a_wrong_statement_is_told_in_the_users_words(jobs: Jobs) -> None:
    """DuckDB 2.0 ends a transaction with any error: the message may not be about that."""
    with pytest.raises(duckdb.BinderException, match='"nope" not found'):
        jobs.run("CREATE TABLE a(x TEXT); INSERT INTO a SELECT ai.complete(nope) FROM a")
    with sqlllm.connect(models={"fake": jobs.fake}, model="fake") as db:
        db.execute("BEGIN; CREATE TABLE a(x TEXT)")
        with pytest.raises(duckdb.BinderException, match='"nope" not found'):
            db.execute("INSERT INTO a SELECT ai.complete(nope) FROM a")


def test_a_statement_that_can_only_run_as_written_does(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan: Callable[..., Any] = sqlllm.Connection._plan

    def broken(self: sqlllm.Connection, query: str, *args: Any, **options: Any) -> Any:
        made = plan(self, query, *args, **options)
        if "INTO a" not in query:
            return made
        (statement,) = made.statements
        bad = type(statement)(statement.original, "INSERT INTO a SELECT nope")
        return type(made)(made.original, bad.sql, statements=(bad,))

    monkeypatch.setattr(sqlllm.Connection, "_plan", broken)
    done = jobs.run("CREATE TABLE a(x TEXT); INSERT INTO a SELECT ai.complete('x')")
    assert done.at_once
    assert jobs.rows("FROM a") == [("X",)]


def test_a_result_is_delivered_with_the_commit_or_not_at_all(jobs: Jobs) -> None:
    out = jobs.folder / "out.csv"
    out.write_text("old")
    script = "CREATE TABLE a AS SELECT 1 AS x; SELECT ai.complete('x' || i) FROM range(3) t(i)"
    fails = sqlllm.FakeModel(lambda task, text: text if text == "x0" else [])
    good, jobs.fake = jobs.fake, fails
    with pytest.raises(sqlllm.BadAnswer):
        jobs.run(script, to=out)
    assert out.read_text() == "old"
    assert jobs.tables() == []
    jobs.fake = good
    jobs.run(script, to=out)
    assert len(out.read_text().splitlines()) == 4
    assert sorted(path.name for path in jobs.folder.iterdir() if "part" in path.name) == []


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE r AS {}", "COPY ({}) TO '{folder}/r.parquet'", "INSERT INTO s {}"],
)
def test_large_outputs_continue_where_they_were_interrupted(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """More rows than a statement collects at once: here 300, not 262,144."""
    monkeypatch.setattr(Statement, "LIMIT", 300)
    jobs.run("CREATE TABLE s(i INT, a TEXT); CREATE TABLE t AS SELECT i FROM range(9000) r(i)")
    select = "SELECT i, ai.complete('t' || i) AS a FROM t"
    script = statement.format(select, folder=jobs.folder)

    def stops(task: sqlllm.Task, text: str) -> str:
        if len(jobs.fake.inputs) > 5000:
            raise ConnectionError("the network is down")
        return text.upper()

    jobs.fake = sqlllm.FakeModel(stops, batch_size=100)
    with pytest.raises(ConnectionError, match="the network is down"):
        jobs.run(script)
    assert jobs.rows("SELECT count(*) FROM s") == [(0,)]
    sent = len(jobs.fake.inputs)
    assert 5000 < sent < 5500
    jobs.fake.fn = lambda task, text: text.upper()
    jobs.run(script)
    assert len(jobs.fake.batches) > 10
    assert len(set(jobs.fake.inputs)) == 9000
    assert len(jobs.fake.inputs) <= 9000 + 5 * 100  # what was on its way, in each thread
    place = f"'{jobs.folder}/r.parquet'" if "COPY" in script else script.split()[2]
    query = f"SELECT count(*), count(DISTINCT a), bool_and(a = 'T' || i) FROM {place}"
    assert jobs.rows(query) == [(9000, 9000, True)]


def test_a_statement_takes_no_longer_for_those_before_it(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked is counted as it is asked, not read again after each statement."""
    read: list[str] = []
    monkeypatch.setattr(Ledger, "_rows", lambda self, table, *_: read.append(table) or [])
    script = ";".join(f"SELECT ai.complete('{i % 15}')" for i in range(20))
    done = jobs.run(script)
    assert (done.counts.distinct_inputs, done.counts.sent, done.counts.cached) == (20, 15, 5)
    assert read == []
