"""A job's result, report and events: a committed run never looks like one that can be repeated."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import duckdb
import pytest
from jobs import Jobs, runs

import sqlllm
from sqlllm import files
from sqlllm.cli import main

WRITES = "CREATE TABLE a AS SELECT 1 AS x; SELECT ai.complete('x' || i) AS y FROM range(3) t(i)"
ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False


def parts(folder: Path) -> list[Path]:
    return [*folder.glob(".*.part/*")] or [*folder.glob(".*.part")]


def test_what_takes_the_place_after_the_commit_fails_is_told_apart(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = jobs.folder / "out.csv"

    def only(path: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", only)
    with pytest.raises(sqlllm.NotDelivered, match="all is committed") as caught:
        jobs.run(WRITES, to=out)
    (part,) = parts(jobs.folder)
    assert caught.value.hint == f"it is in {part}"
    assert len(part.read_text().splitlines()) == 4
    assert jobs.rows("FROM a") == [(1,)]
    assert [(run["state"], run["message"][:16]) for run in runs()] == [("done", "all is committed")]
    assert jobs.events[-1]["event"] == "run_done"
    call = ["run", str(jobs.write("SELECT 1")), "--to", str(out)]
    assert main(call) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_nobody_else_reads_a_result_before_it_has_its_rights(jobs: Jobs) -> None:
    out, seen = jobs.folder / "out.csv", []

    def looks(_: sqlllm.Task, text: str) -> str:
        seen.extend(oct(path.stat().st_mode & 0o777) for path in jobs.folder.glob(".*.part"))
        return text

    out.touch(0o600)
    jobs.fake = sqlllm.FakeModel(looks)
    jobs.run(WRITES, to=out)
    assert set(seen) == {"0o700"}
    assert out.stat().st_mode & 0o777 == 0o600
    assert parts(jobs.folder) == []


@pytest.mark.parametrize("what", ["folder", "nowhere", "device", "dot", "ending"])
@pytest.mark.parametrize("command", ["run", "sql"])
def test_a_result_that_cant_be_written_is_refused_first(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], command: str, what: str
) -> None:
    (jobs.folder / "there").mkdir()
    to, why = {
        "folder": (jobs.folder / "there", "is a folder"),
        "nowhere": (jobs.folder / "no" / "o.csv", "there is no folder"),
        "device": (Path(os.devnull), "is no file"),
        "dot": (Path(), "is a folder"),
        "ending": (jobs.folder / "o.csv.gz", "doesn't tell the format"),
    }[what]
    with pytest.raises(sqlllm.ConfigError, match=why):
        jobs.run(WRITES, to=to)
    assert jobs.fake.inputs == []
    assert runs() == []
    given = str(jobs.write(WRITES)) if command == "run" else "SELECT 1"
    assert main([command, given, "--to", str(to)]) == (2 if command == "run" else 1)
    assert why in capsys.readouterr().err
    assert Path(os.devnull).is_char_device() or sys.platform == "win32"


def test_two_runs_may_write_to_one_file(jobs: Jobs) -> None:
    out, other = jobs.folder / "out.csv", jobs.folder / "other.sql"
    other.write_text("SELECT 7 AS other")

    def meanwhile(task: Any, text: str) -> str:
        if text == "x0":
            sqlllm.run(other, to=out)
        return text.upper()

    jobs.fake = sqlllm.FakeModel(meanwhile)
    jobs.run(WRITES, to=out)
    assert out.read_text().split() == ["y", "X0", "X1", "X2"]
    assert {run["state"] for run in runs()} == {"done"}
    assert parts(jobs.folder) == []


@pytest.mark.parametrize("script", [WRITES, "SELECT error('no')"])
def test_who_hears_of_the_end_changes_nothing(jobs: Jobs, script: str) -> None:
    def deaf(event: Any) -> None:
        if event["event"] in ("run_done", "run_failed"):
            raise KeyError("deaf")

    call = {"models": {"fake": jobs.fake}, "model": "fake", "database": str(jobs.database)}
    path = jobs.write(script)
    fails = nullcontext() if script == WRITES else pytest.raises(duckdb.Error, match="no")
    said = pytest.warns(sqlllm.StorageWarning, match="`on_event` failed on run_.*: KeyError")
    with said, fails:
        sqlllm.run(path, on_event=deaf, **call)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", ["run", "sql"])
def test_a_full_disk_behind_standard_output(jobs: Jobs, command: str) -> None:
    script = "CREATE TABLE a AS SELECT 1 AS x; SELECT 2 AS y"
    given = str(jobs.write(script)) if command == "run" else script
    call = [sys.executable, "-m", "sqlllm", command, given, "-d", str(jobs.database)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == (5 if command == "run" else 1)
    assert "all is done, but the result can't be written: No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert jobs.rows("FROM a") == [(1,)]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("streams", ["2>&1 >/dev/null | head -n 1", ">&-", "2>&-"])
def test_streams_that_nobody_reads(jobs: Jobs, streams: str) -> None:
    steps = "".join(f"INSERT INTO a VALUES ({i});" for i in range(300))
    path = jobs.write(f"CREATE TABLE a(x INT);{steps} SELECT 1")
    line = f"{sys.executable} -m sqlllm run {path} -d {jobs.database} --json {streams}"
    shell = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert jobs.rows("SELECT count(*) FROM a") == [(300,)]
    assert [run["state"] for run in runs()] == ["done"]


@pytest.mark.parametrize("to", [None, "o.csv", "o.parquet"])
@pytest.mark.parametrize("query", ["PIVOT {} ON i USING count(*)", "FROM (PIVOT {} ON i)"])
def test_a_result_that_is_a_pivot(jobs: Jobs, query: str, to: str | None) -> None:
    script = query.format("(SELECT ai.complete('n' || i) AS i FROM range(3) t(i))")
    jobs.run(script, to=jobs.folder / to if to else None)
    if to:
        found = duckdb.sql(f"FROM '{jobs.folder / to}'")
        assert found.columns == ["N0", "N1", "N2"]
        assert found.fetchall() == [(1, 1, 1)]
    assert len(jobs.fake.inputs) == 3


def test_a_pivot_in_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    query = "PIVOT (FROM range(3) t(i)) ON i USING count(*)"
    assert main(["sql", query, "-o", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["0,1,2", "1,1,1"]
    assert main(["sql", f"CREATE TABLE p AS {query}; FROM p", "-o", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["0,1,2", "1,1,1"]


def test_a_transaction_that_is_left_open(jobs: Jobs) -> None:
    with pytest.raises(sqlllm.CallError, match="leaves a transaction open") as caught:
        jobs.run("BEGIN; CREATE TABLE a AS SELECT 1 AS x")
    assert caught.value.hint == "end it with COMMIT"
    assert jobs.tables() == []
    assert [run["state"] for run in runs()] == ["failed"]
    jobs.run("BEGIN; CREATE TABLE a AS SELECT 1 AS x; COMMIT; BEGIN; DROP TABLE a; ROLLBACK")
    assert jobs.tables() == ["a"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('report_texts = "false"', "report_texts must be true or false, not 'false'"),
        ("report_samples = true", "report_samples must be a number, not True"),
        ("variables = 3", "variables must be a table, not 3"),
        ('budgets = "none"', "budgets must be a table, not 'none'"),
        ("to = 3", "to must be text, not 3"),
        ("database = 3", "database must be text, not 3"),
    ],
)
def test_entries_of_a_job_file_have_types(jobs: Jobs, entry: str, message: str) -> None:
    jobs.write("SELECT 1")
    path = jobs.write(f'script = "job.sql"\n{entry}\n', "job.toml")
    with pytest.raises(sqlllm.ConfigError) as caught:
        sqlllm.run(path)
    assert str(caught.value) == f"{path}: {message}"
    assert main(["run", str(path)]) == 2


def test_texts_are_shown_only_where_that_is_said(jobs: Jobs) -> None:
    with pytest.raises(sqlllm.ConfigError, match="report_texts must be true or false, not 'false'"):
        jobs.run("SELECT 1", report_texts="false")


@pytest.mark.parametrize("name", ["job.sql", "job.toml"])
def test_files_that_are_not_utf_8(jobs: Jobs, name: str) -> None:
    (jobs.folder / name).write_bytes(b"SELECT '\xe9'")
    with pytest.raises(sqlllm.ConfigError, match=f"{name}' is not UTF-8"):
        sqlllm.run(jobs.folder / name)


@pytest.mark.filterwarnings("always::sqlllm.StorageWarning")
def test_warnings_are_events_for_machines(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import warnings

    from sqlllm.jobs.run import JobRun

    done = JobRun.run

    def warns(self: JobRun) -> sqlllm.RunResult:
        warnings.warn("lost", sqlllm.StorageWarning, stacklevel=1)
        return done(self)

    monkeypatch.setattr(JobRun, "run", warns)
    assert main(["run", str(jobs.write("SELECT 1")), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert told[0] == {"event": "warning", "message": "lost"}
    assert told[-1]["event"] == "run_done"


@pytest.mark.parametrize("to", ["w.duckdb", "other.duckdb", "answers.sqlite", "job.sql"])
@pytest.mark.parametrize("command", ["run", "sql"])
def test_a_result_replaces_no_database_and_no_script(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], command: str, to: str
) -> None:
    for path in (jobs.database, jobs.folder / "other.duckdb"):
        duckdb.connect(str(path)).close()
    with closing(sqlite3.connect(jobs.folder / "answers.sqlite")) as con:
        con.execute("CREATE TABLE t (x)")
    script = str(jobs.write("SELECT 1"))
    before = (jobs.folder / to).read_bytes()
    if command == "sql" and to == "job.sql":
        pytest.skip("it names no script")
    call = ["run", script] if command == "run" else ["sql", "SELECT 1"]
    assert main([*call, "-d", str(jobs.database), "--to", str(jobs.folder / to)]) in (1, 2)
    assert "would replace" in capsys.readouterr().err
    assert (jobs.folder / to).read_bytes() == before


def test_a_result_is_not_the_report(jobs: Jobs) -> None:
    page = jobs.folder / "page.html"
    with pytest.raises(sqlllm.ConfigError, match="would replace the report"):
        jobs.run("SELECT ai.complete('x')", to=page, report=page)
    assert jobs.fake.inputs == []


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(KeyError), files.whole(path) as part:  # noqa: PT012
        part.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with files.whole(path) as part:
        part.write_text("all")
    assert [each.read_text() for each in tmp_path.iterdir()] == ["all"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and rights of POSIX")
@pytest.mark.parametrize("command", ["run", "sql"])
def test_a_result_goes_where_a_link_leads_and_keeps_the_rights(
    tmp_path: Path, jobs: Jobs, command: str
) -> None:
    real, link = tmp_path / "there" / "real.csv", tmp_path / "latest.csv"
    real.parent.mkdir()
    real.touch(0o600)
    link.symlink_to(real)
    query = "SELECT 1 AS one"
    call = ["run", str(jobs.write(query)), "--to"] if command == "run" else ["sql", query, "--to"]
    assert main([*call, str(link)]) == 0
    assert link.is_symlink()
    assert real.read_text() == "one\n1\n"
    assert real.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in real.parent.iterdir()] == ["real.csv"]


@pytest.mark.skipif(ROOT or sys.platform == "win32", reason="root may write anywhere")
def test_a_folder_that_cant_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(sqlllm.ConfigError, match="of the result can't be written"):
        files.check(tmp_path / "x", "result")
    tmp_path.chmod(0o700)


def test_a_second_attempt_is_told(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB ends the transaction where it can't bind, so that all has to begin again."""
    from sqlllm.rewrite import statement

    written = statement.written
    monkeypatch.setattr(statement, "written", lambda t: written(t).replace("a WHERE", "b WHERE"))
    jobs.run("CREATE TABLE a AS SELECT ai.complete('x') AS x; SELECT ai.complete(x) AS y FROM a")
    assert [note.rpartition(": ")[2] for note in jobs.notes()] == [
        "all begins again, that one as it is"
    ]
    assert jobs.fake.inputs == ["x", "X"]
