"""Where settings, answers, records and audit logs are read and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sqlllm
from sqlllm.settings import cache_path, state_path
from sqlllm.settings_file import config_file


def ask(db: sqlllm.Connection, rows: int) -> list[Any]:
    return db.execute(f"SELECT ai.complete('row ' || i) FROM range({rows}) t(i)").fetchall()


def test_a_connection_keeps_its_files_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else answers were asked again, the day began anew, and the audit log was in two parts."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    fake = sqlllm.FakeModel(lambda task, text: text.upper(), fingerprint="one")
    files: Any = {"cache_file": "c.sqlite", "state_file": "s.sqlite", "audit_log": "a.jsonl"}
    day = {"day": {"max_calls": 6}}
    with sqlllm.connect(models={"fake": fake}, model="fake", budgets=day, **files) as db:
        ask(db, 4)
        monkeypatch.chdir(tmp_path / "elsewhere")
        ask(db, 6)
        with pytest.raises(sqlllm.BudgetExceeded, match="6 calls spent"):
            ask(db, 7)
    assert len(fake.inputs) == 6
    assert not list((tmp_path / "elsewhere").iterdir())
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 6


def test_a_relative_home_is_where_it_was_when_connecting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SQLLLM_CACHE_FILE", "SQLLLM_STATE_FILE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("SQLLLM_HOME", "home")
    monkeypatch.chdir(tmp_path)
    settings = sqlllm.Settings.load()
    monkeypatch.chdir("/")
    assert cache_path(settings) == tmp_path / "home" / "answers-1.sqlite"
    assert state_path(settings) == tmp_path / "home" / "state-1.sqlite"
    (tmp_path / "sqlllm.toml").write_text("cache_file = 'mine.sqlite'\n")
    monkeypatch.chdir(tmp_path)
    assert cache_path(sqlllm.Settings.load()) == tmp_path / "mine.sqlite"
    monkeypatch.setenv("SQLLLM_HOME", "~/sqlllm")  # no shell has read it
    assert cache_path(sqlllm.Settings()) == Path.home() / "sqlllm" / "answers-1.sqlite"


def test_paths_in_a_file_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SQLLLM_CACHE_FILE", "SQLLLM_STATE_FILE"):
        monkeypatch.delenv(name)
    (tmp_path / "below").mkdir()
    (tmp_path / "sqlllm.toml").write_text("cache_file = 'c.sqlite'\naudit_log = 'logs/a.jsonl'\n")
    monkeypatch.chdir(tmp_path / "below")
    settings = sqlllm.Settings.load()
    assert settings.cache_file == str(tmp_path / "c.sqlite")
    assert settings.audit_log == str(tmp_path / "logs" / "a.jsonl")


def test_paths_in_a_job_file_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: sqlllm.FakeModel
) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "job.sql").write_text("SELECT ai.complete('x')")
    (folder / "job.toml").write_text("script = 'job.sql'\naudit_log = 'a.jsonl'\n")
    monkeypatch.chdir(tmp_path)
    sqlllm.run("jobs/job.toml", models={"fake": fake}, model="fake")
    assert len((folder / "a.jsonl").read_text().splitlines()) == 1
    (folder / "job.toml").write_text("script = 'job.sql'\ncache_file = 5\n")
    with pytest.raises(sqlllm.ConfigError, match="cache_file must be a path, not 5"):
        sqlllm.run("jobs/job.toml")


def test_files_begin_as_editors_on_windows_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: sqlllm.FakeModel
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sqlllm.toml").write_bytes(b"\xef\xbb\xbfmodel = 'fake'\r\n")
    assert sqlllm.Settings.load().model == "fake"
    (tmp_path / "job.sql").write_bytes(b"\xef\xbb\xbfSELECT ai_complete('x') AS y;\r\n")
    (tmp_path / "job.toml").write_bytes(b"\xef\xbb\xbfscript = 'job.sql'\r\n")
    said: list[Any] = []
    sqlllm.run("job.toml", models={"fake": fake}, on_event=said.append)
    assert next(e["sql"] for e in said if e["event"] == "statement_started").startswith("SELECT")


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that nobody can read")
def test_a_settings_file_that_cant_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLLLM_CONFIG", "/proc/self/mem")
    with pytest.raises(sqlllm.ConfigError, match=r"/proc/self/mem can't be read: "):
        sqlllm.connect()


def test_a_working_folder_that_cant_be_looked_at_has_no_settings(tmp_path: Path) -> None:
    """As of a service that was started in somebody else's folder."""
    (tmp_path / "closed" / "in").mkdir(parents=True)
    code = """
import os, sys
from sqlllm.settings_file import config_file
os.chdir(sys.argv[1])
os.chmod("..", 0)
if not os.getuid():
    os.setuid(65534)
print(config_file())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "closed" / "in")],
        capture_output=True,
        text=True,
        check=False,
    )
    os.chmod(tmp_path / "closed", 0o700)  # noqa: PTH101
    assert done.stdout.strip() == "None", done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use stays")
def test_a_working_folder_that_was_removed_has_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    fake = sqlllm.FakeModel(lambda task, text: text)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        assert len(ask(db, 2)) == 2
    with pytest.raises(sqlllm.ConfigError, match="'c' is no place here"):
        sqlllm.connect(cache_file="c")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user /etc/passwd doesn't have; its message was a traceback."""

    def unknown(*_: Any) -> str:
        msg = "could not determine the home directory"
        raise RuntimeError(msg)

    for name in ("SQLLLM_HOME", "SQLLLM_CACHE_FILE", "SQLLLM_STATE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", unknown)
    with pytest.raises(
        sqlllm.ConfigError, match=r"the home directory\nHint: set HOME or SQLLLM_HOME"
    ):
        sqlllm.connect()
    with pytest.raises(sqlllm.ConfigError, match=r"'~no-such-user/c' is no place here"):
        sqlllm.connect(cache_file="~no-such-user/c")


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
def test_the_audit_log_has_whole_lines_after_the_disk_was_full(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
import sqlllm
log = Path(sys.argv[1])
fake = sqlllm.FakeModel(lambda task, text: text)
with sqlllm.connect(models={"fake": fake}, model="fake", audit_log=log, record=False) as db:
    db.execute("SELECT ai.complete('first')")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 100, most))
    try:
        db.execute("SELECT ai.complete('second')")
    except sqlllm.StorageError as error:
        print(str(error).splitlines()[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    db.execute("SELECT ai.complete('third')")
"""
    log = tmp_path / "a.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True
    )
    assert "100 of " in done.stdout
    assert [json.loads(line)["outcome"] for line in log.read_text().splitlines()] == ["ok", "ok"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of POSIX")
def test_settings_that_somebody_else_put_where_everybody_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /tmp/sqlllm.toml, for whoever works below: it says where answers and texts go."""
    path = tmp_path / "sqlllm.toml"
    path.write_text("model = 'minilm'\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    tmp_path.chmod(0o777)
    assert config_file() == path
    monkeypatch.setattr(os, "getuid", lambda: 7)
    if not path.stat().st_uid:
        assert config_file() == path  # root's is trusted
        os.chown(path, 8, -1)
    with pytest.raises(sqlllm.ConfigError, match=r"sqlllm\.toml is another user's, in a folder"):
        sqlllm.Settings.load()
    tmp_path.chmod(0o775)
    assert sqlllm.Settings.load().model == "minilm"
    tmp_path.chmod(0o777)
    monkeypatch.setenv("SQLLLM_CONFIG", str(path))
    assert sqlllm.Settings.load().model == "minilm"
