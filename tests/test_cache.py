from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sqlllm
from sqlllm.cli import main
from sqlllm.models.base import Batch
from sqlllm.runtime.blocks import SCHEMA
from sqlllm.runtime.cache import BlockCache
from sqlllm.runtime.keys import Lane, keys_of
from sqlllm.runtime.upkeep import clear, lanes, prune
from sqlllm.storage import Database

SCHEMA_OF_TEXT = '{"type": "object"}'
ROWS = "(SELECT 'text ' || i AS x FROM range(100) r(i))"


def shout(task: sqlllm.Task, text: str) -> Any:
    if "broken" in text:
        raise sqlllm.ModelError("no answer")
    return [1.0, 2.0, float(len(text))] if task.kind == "embed" else text.upper()


def kept(**given: Any) -> tuple[sqlllm.Connection, sqlllm.FakeModel]:
    """A connection as a new process would make it: the same model, which has asked nothing yet."""
    fake = sqlllm.FakeModel(shout, fingerprint="one", batch_size=10)
    con = sqlllm.connect(models={"fake": fake}, model="fake", embed_model="fake", **given)
    return con, fake


def test_what_one_connection_asked_is_there_for_the_next() -> None:
    for sent in (100, 0):
        db, fake = kept()
        with db:
            rows = db.execute(f"SELECT ai.complete(x) FROM {ROWS}").fetchall()
        assert sorted(rows) == sorted((f"TEXT {i}",) for i in range(100))
        assert len(fake.inputs) == sent


def test_another_process_finds_the_answers() -> None:
    db, _ = kept()
    with db:
        db.execute(f"SELECT ai.complete(x) FROM {ROWS}")
    code = f"""
import sqlllm
fake = sqlllm.FakeModel(lambda task, text: 1 / 0, fingerprint="one")
with sqlllm.connect(models={{"fake": fake}}, model="fake") as db:
    print(db.execute("SELECT count(ai.complete(x)) FROM {ROWS}").fetchone(), fake.inputs)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("\n")[0] == "(100,) []"


@pytest.mark.parametrize(
    ("cache", "first", "second", "third"),
    [("on", 100, 0, 0), ("memory", 100, 0, 100), ("off", 100, 100, 100), ("read", 100, 0, 100)],
)
def test_modes(cache: str, first: int, second: int, third: int) -> None:
    """Asked twice by one model, then by one of another process: of the same fingerprint."""
    sent = []
    query = f"SELECT ai.complete(x || '{cache}') FROM {ROWS}"
    db, fake = kept(cache=cache)
    with db:
        for _ in range(2):
            db.execute(query)
            sent.append(len(fake.inputs))
            fake.inputs.clear()
    code = f"""
import sqlllm
fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="one")
with sqlllm.connect(models={{"fake": fake}}, model="fake", cache={cache!r}) as db:
    db.execute({query!r})
print(len(fake.inputs))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [*sent, int(out.stdout.split("\n")[0])] == [first, second, third]


def test_only_what_is_there_is_answered() -> None:
    db, _ = kept()
    with db:
        db.execute("SELECT ai.complete('a')")
    db, fake = kept(cache="only")
    with db:
        assert db.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
        with pytest.raises(sqlllm.ModelError, match="1 inputs have no answer in the cache"):
            db.execute("SELECT ai.complete('b')")
        rows = db.execute(
            "SELECT ai.complete(x, on_error := 'null') FROM (VALUES ('a'), ('b')) t(x)"
        )
        assert rows.fetchall() == [("A",), (None,)]
    assert fake.inputs == []


def test_failures_are_not_kept_and_what_was_answered_beside_is() -> None:
    query = "SELECT ai.complete(x) FROM (VALUES ('a'), ('broken'), ('c')) t(x)"
    for sent in (["a", "broken", "c"], ["broken"]):
        db, fake = kept()
        with db, pytest.raises(sqlllm.ModelError, match="no answer"):
            db.execute(query)
        assert fake.inputs == sent


def test_models_without_a_fingerprint_don_t_share_answers() -> None:
    class Constant(sqlllm.Model):
        def __init__(self, word: str) -> None:
            self.word = word

        def complete(self, task: sqlllm.Task, inputs: Sequence[str]) -> Iterator[Batch]:
            yield Batch(range(len(inputs)), [self.word] * len(inputs))

    for word in ("yes", "no"):
        with sqlllm.connect(models={"mine": Constant(word)}, model="mine") as db:
            assert db.execute("SELECT ai.complete('a')").fetchone() == (word,)


CHANGES: dict[str, Any] = {
    "kind": "extract", "instruction": "i", "labels": ("a", "b"), "descriptions": ("c", "d"),
    "none_of_these": "b", "multi": True, "examples": (("text", "a"),), "schema": SCHEMA_OF_TEXT,
    "shown": "text", "system": "s", "stop": (".",), "pattern": "a+", "whole": True,
    "temperature": 0.7, "top_p": 0.9, "max_tokens": 9, "seed": 7, "truncate": True,
    "text_first": True,
}  # fmt: skip


def test_whatever_may_change_an_answer_is_in_its_key() -> None:
    drawn = sqlllm.Task("complete", schema=SCHEMA_OF_TEXT, temperature=0.5)
    plain = replace(drawn, schema="")
    assert CHANGES.keys() == {item.name for item in fields(sqlllm.Task)}
    keys = {
        replace(drawn if name in ("kind", "shown") else plain, **{name: value}).key
        for name, value in CHANGES.items()
    }
    assert len(keys) == len(CHANGES)
    assert plain.key not in keys


def test_what_changes_no_answer_is_not_in_its_key() -> None:
    greedy = sqlllm.Task("complete")
    assert replace(greedy, seed=7, top_p=0.9).key == greedy.key
    for task in (sqlllm.Task("embed"), sqlllm.Task("choose", labels=("a", "b"))):
        assert replace(task, temperature=0.7, seed=7, top_p=0.9, max_tokens=9).key == task.key


def test_vectors_in_half_the_room() -> None:
    vectors: list[Any] = []
    for width in ("float32", "float16"):
        db, fake = kept(vectors=width)
        with db:
            for _ in range(2):
                vectors.append(db.execute("SELECT ai.embed('a')").fetchall()[0][0])
        assert fake.inputs == ["a"]
    assert vectors[0] == vectors[1] != vectors[2] == vectors[3]
    assert np.allclose(vectors[0], vectors[2], atol=1e-3)
    with sqlllm.connect() as db:
        query = "SELECT question, bytes FROM ai.cache WHERE place = 'file' ORDER BY bytes"
        rows = db.execute(query).fetchall()
    assert rows == [('{"vectors": "float16"}', 16 + 4 + 3 * 2), ("", 16 + 4 + 3 * 4)]


def test_the_view() -> None:
    db, _ = kept()
    with db:
        db.execute(f"SELECT ai.complete(x), ai.embed(x) FROM {ROWS}")
        rows = db.execute(
            "SELECT place, model, kind, answers, used >= made AND made <= now() FROM ai.cache "
            "WHERE place = 'file' ORDER BY kind"
        ).fetchall()
    assert rows == [("file", "fake", "complete", 100, True), ("file", "fake", "embed", 100, True)]


def test_small_blocks_are_merged(tmp_path: Path) -> None:
    cache = BlockCache(Database(tmp_path / "answers.sqlite", SCHEMA), 1 << 30)
    lane = Lane(sqlllm.FakeModel(shout), sqlllm.Task("complete"))
    keys = keys_of(pa.array([str(i) for i in range(3000)]))
    for i in range(3000):
        cache.keep(lane, keys[i : i + 1], pa.array([str(i).encode()]))
    (blocks,) = cache.database.read(
        lambda con: con.execute("SELECT count(*) FROM blocks").fetchone()
    )
    assert blocks < 60
    assert cache.find(lane, keys).to_pylist() == [str(i).encode() for i in range(3000)]
    fresh = BlockCache(Database(tmp_path / "answers.sqlite", SCHEMA), 1 << 30)
    assert fresh.find(lane, keys).to_pylist() == [str(i).encode() for i in range(3000)]


# The command.


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "info"]) == 0
    assert "there is no cache yet" in capsys.readouterr().err
    db, _ = kept()
    with db:
        db.execute(f"SELECT ai.complete(x), ai.embed(x) FROM {ROWS}")
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert "200 answers" in out
    assert "embed" in out
    copy, table = tmp_path / "copy.sqlite", tmp_path / "answers.parquet"
    assert main(["cache", "export", str(copy)]) == 0
    assert main(["cache", "export", str(table)]) == 0
    assert main(["cache", "export", str(table)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["cache", "export", str(tmp_path / "no" / "a.parquet")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    rows = pq.read_table(table).to_pylist()
    assert sorted(row["answer"] for row in rows if row["kind"] == "complete")[0] == "TEXT 0"
    assert all(len(row["vector"]) == 3 for row in rows if row["kind"] == "embed")
    assert main(["cache", "clear"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert main(["cache", "clear", "--model", "other", "--yes"]) == 0
    assert main(["cache", "clear", "--yes"]) == 0
    assert "200 answers dropped" in capsys.readouterr().out
    db, fake = kept(cache_file=str(copy), cache="only")
    with db:
        assert db.execute(f"SELECT count(ai.complete(x)) FROM {ROWS}").fetchone() == (100,)
    assert fake.inputs == []
    assert copy.stat().st_mode & 0o077 == 0


def test_what_is_dropped_was_used_longest_ago_or_is_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the disk has its room again."""
    monkeypatch.setattr(BlockCache, "FULL", 0)
    path = tmp_path / "answers.sqlite"
    cache = BlockCache(Database(path, SCHEMA), 1 << 30)
    keys, answers = keys_of(pa.array(["text"])), pa.array([bytes(100_000)])
    for name in "abc":
        fake = sqlllm.FakeModel(shout)
        fake.name = name
        cache.keep(Lane(fake, sqlllm.Task("complete")), keys, answers)

    def left() -> str:
        return "".join(row["model"] for row in lanes(cache.database))

    assert left() == "abc"
    ((size,),) = cache.database.read(lambda con: con.execute("SELECT max(bytes) FROM blocks"))
    assert (prune(cache.database, max_bytes=3 * size), left()) == (0, "abc")
    assert (prune(cache.database, max_bytes=2 * size), left()) == (1, "bc")
    assert (clear(cache.database, "c"), left()) == (1, "b")
    assert sum(Path(f"{path}{part}").stat().st_size for part in ("", "-wal")) < 150_000
    assert (clear(cache.database), left()) == (1, "")


def test_prune(capsys: pytest.CaptureFixture[str]) -> None:
    db, _ = kept()
    with db:
        db.execute(f"SELECT ai.complete(x) FROM {ROWS}")
    path = os.environ["SQLLLM_CACHE_FILE"]
    assert main(["cache", "prune"]) == 2
    assert main(["cache", "prune", "--days", "1"]) == 0
    assert "0 answers dropped" in capsys.readouterr().out
    con = sqlite3.connect(path)
    with con:
        con.execute("UPDATE blocks SET used = used - 90000")
    con.close()
    assert main(["cache", "prune", "--days", "1"]) == 0
    assert "100 answers dropped" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["cache", "prune", "--to", "2 parrots"])
    assert "must be a size such as 500MB" in capsys.readouterr().err
    for days in ("-1", "nan", "many"):  # -1 dropped all
        with pytest.raises(SystemExit):
            main(["cache", "prune", f"--days={days}"])
        assert f"0 or more, not '{days}'" in capsys.readouterr().err
