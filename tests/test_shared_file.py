"""One cache file, and several connections and processes that write it, clear it and fill it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlllm

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
