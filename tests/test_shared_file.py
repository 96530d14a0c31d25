"""One cache file, and several connections and processes that write it, clear it and fill it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import sqlllm
from sqlllm.cli import main
from sqlllm.runtime.caches import file_cache
from sqlllm.settings import Settings

OTHER = """
import sqlllm
fake = sqlllm.FakeModel(lambda task, text: f"{task.system} {text}", fingerprint="one")
with sqlllm.connect(models={"fake": fake}, model="fake") as db:
    print(db.execute(QUERY).fetchall(), len(fake.inputs))
"""


def opened(**given: Any) -> tuple[sqlllm.Connection, sqlllm.FakeModel]:
    fake = sqlllm.FakeModel(lambda task, text: f"{task.system} {text}", fingerprint="one")
    return sqlllm.connect(models={"fake": fake}, model="fake", **given), fake


def asked(system: str, *texts: str) -> str:
    values = ", ".join(f"('{text}')" for text in texts)
    return f"SELECT ai.complete(x, system := '{system}') FROM (VALUES {values}) t(x)"


def elsewhere(query: str) -> str:
    """What another process gets for a query, and how many inputs it sent."""
    code = OTHER.replace("QUERY", repr(query))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_question_gets_its_own_answers_after_another_process_emptied_the_cache() -> None:
    """The first question that comes then is kept where this one was."""
    db, _ = opened()
    with db:
        assert db.execute(asked("one:", "a")).fetchall() == [("one: a",)]
        command = [sys.executable, "-m", "sqlllm", "cache", "clear", "--yes"]
        subprocess.run(command, check=True, capture_output=True)
        assert elsewhere(asked("two:", "a", "b")) == "[('two: a',), ('two: b',)] 2"
        assert db.execute(asked("one:", "c")).fetchall() == [("one: c",)]
        assert db.execute(asked("one:", "b", "a")).fetchall() == [("one: b",), ("one: a",)]


def test_what_a_connection_keeps_outlives_another_one_to_the_same_file(tmp_path: Path) -> None:
    """Opening the file a second time freed the locks of the first, whose log was then removed."""
    db, _ = opened()
    second, _ = opened(cache_bytes=1 << 30)
    with db, second:
        db.execute(asked("one:", "a"))
        second.execute(asked("one:", "b"))
        assert elsewhere(asked("one:", "c")).endswith(" 1")
        db.execute(asked("one:", "d"))
        assert elsewhere(asked("one:", "a", "b", "c", "d")).endswith(" 0")


def test_the_cache_keeps_its_size_whatever_is_asked() -> None:
    """Many questions about a few texts each, as of processes that ask once and end."""
    for cache in ("on", "memory"):
        db, _ = opened(cache=cache, cache_bytes=20_000)
        with db:
            for i in range(100):
                db.execute(asked(f"question {i}", "x" * 1000))
            held = "SELECT sum(bytes) FROM ai.cache WHERE place = $1"
            ((size,),) = db.execute(held, ["file" if cache == "on" else cache]).fetchall()
        assert size < 60_000


def test_a_process_that_asks_once_keeps_the_cache_small() -> None:
    for i in range(6):
        db, _ = opened(cache_bytes=3000 + i)  # as a new process: nothing is known of the file
        with db:
            db.execute(asked(f"question {i}", "x" * 1000))
    with opened()[0] as db:
        ((size,),) = db.execute("SELECT sum(bytes) FROM ai.cache WHERE place = 'file'").fetchall()
    assert size < 4000


READER = """
import os, sys, sqlllm
fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="one")
given = {"models": {"fake": fake}, "model": "fake", "record": False}
with sqlllm.connect(**given, cache="memory") as db:
    db.execute("SELECT ai.complete('all is imported')")
os.setuid(65534)
with sqlllm.connect(**given, cache="only") as db:
    for line in sys.stdin:
        try:
            print(db.execute(line).fetchall(), flush=True)
        except sqlllm.ModelError:
            print("nothing", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs two users")
def test_who_may_only_read_the_folder_finds_what_others_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It took the file for one that nobody changes, and found none of what was in its log."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101
        path = Path(folder) / "answers.sqlite"
        monkeypatch.setenv("SQLLLM_CACHE_FILE", str(path))

        def write(system: str) -> None:
            with opened()[0] as db:
                db.execute(asked(system, "a"))

        write("first:")
        path.chmod(0o644)
        file_cache(Settings.load()).file.database.close()
        command = [sys.executable, "-c", READER]
        with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1) as reader:
            assert reader.stdin is not None
            assert reader.stdout is not None

            def read(system: str) -> str:
                print(asked(system, "a"), file=reader.stdin)
                return reader.stdout.readline().strip()

            assert read("first:") == "[('first: a',)]"
            for system in ("second:", "third:"):  # the log comes, and is there already
                assert read(system) == "nothing"
                write(system)
                assert read(system) == f"[('{system} a',)]"
            file_cache(Settings.load()).file.database.close()
            write("fourth:")
            file_cache(Settings.load()).file.database.close()
            assert read("fourth:") == "[('fourth: a',)]"
            reader.stdin.close()


FULL = """
import resource, sys
import sqlllm
fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="one")
given = {"models": {"fake": fake}, "model": "fake", "record": False}
db = sqlllm.connect(**given)
db.execute("SELECT ai.complete('it is there')")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    sqlllm.run(sys.argv[1], **given)
except sqlllm.StorageError as error:
    print(str(error).partition(":")[0], len(fake.inputs))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
def test_a_job_does_not_begin_while_the_disk_of_its_answers_is_full(tmp_path: Path) -> None:
    script = tmp_path / "job.sql"
    script.write_text("SELECT ai.complete('row ' || i) FROM range(10) r(i)")
    command = [sys.executable, "-c", FULL, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "answers can't be kept, so the job would pay twice 1\n"


@pytest.mark.parametrize("mode", ["only", "off"])
def test_a_cache_that_settings_protect_is_not_emptied(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened()[0] as db:
        db.execute(asked("one:", "a"))
    monkeypatch.setenv("SQLLLM_CACHE", mode)
    assert main(["cache", "clear", "--yes"]) == 1
    assert f"cache = '{mode}', so that" in capsys.readouterr().err
    monkeypatch.setenv("SQLLLM_CACHE", "on")
    assert main(["cache", "clear", "--yes"]) == 0
    assert "1 answers dropped" in capsys.readouterr().out


FORKING = """
import os, threading, time, warnings
import sqlllm
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: of forks beside threads

def asked(prefix, rows):
    fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="one")
    with sqlllm.connect(models={"fake": fake}, model="fake", progress=False) as db:
        query = "SELECT ai.complete($1 || i) FROM range($2) r(i)"
        return len(db.execute(query, [prefix, rows]).fetchall())

def always():
    for i in range(1000):
        asked(f"parent {i} ", 100)

asked("all is imported", 1)
threading.Thread(target=always, daemon=True).start()
time.sleep(1)
for n in range(8):
    child = os.fork()
    if not child:
        os._exit(asked(f"child {n} ", 3))
    until = time.monotonic() + 20
    ended, status = 0, 0
    while not ended and time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    print(os.waitstatus_to_exitcode(status) if ended else "hangs", flush=True)
    if not ended:
        os.kill(child, 9)
        break
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_process_that_forks_while_a_thread_asks_doesnt_hang() -> None:
    command = [sys.executable, "-c", FORKING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3"] * 8
