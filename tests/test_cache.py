from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqlllm
from sqlllm.cli import main
from sqlllm.models.base import Batch
from sqlllm.runtime.cache import SCHEMA, BlockCache
from sqlllm.runtime.keys import Lane, keys_of
from sqlllm.storage import Database

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


# What happens to the file.


def damaged_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def damaged_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 3 * 4096])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


def a_flipped_bit(path: Path) -> None:
    """Within the answers, where SQLite itself sees nothing."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"TEXT 7")
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [
        (damaged_header, "is damaged .* was set aside as answers.sqlite.damaged-"),
        (damaged_pages, "is damaged .* was set aside as answers.sqlite.damaged-"),
        (truncated, "is damaged .* was set aside as answers.sqlite.damaged-"),
        (a_flipped_bit, "block 1 is damaged and was dropped"),
        (emptied, None),
        (removed, None),
    ],
)
def test_a_spoilt_file_is_begun_anew(spoil: Any, warning: str | None, tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    first = BlockCache(Database(path, SCHEMA), 1 << 30)
    lane = Lane(sqlllm.FakeModel(shout, fingerprint="one"), sqlllm.Task("complete"))
    texts = pa.array([f"text {i}" for i in range(5000)])
    keys, answers = keys_of(texts), pa.array([f"TEXT {i}".encode() for i in range(5000)])
    first.keep(lane, keys, answers)
    first.database.read(lambda con: con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    first.database.close()
    spoil(path)
    again = BlockCache(Database(path, SCHEMA), 1 << 30)
    if warning:
        with pytest.warns(sqlllm.StorageWarning, match=warning):
            found = again.find(lane, keys)
    else:
        found = again.find(lane, keys)
    assert found.null_count == 5000  # nothing, rather than something wrong
    again.keep(lane, keys[:10], answers[:10])
    assert again.find(lane, keys[:11]).to_pylist() == [*answers[:10].to_pylist(), None]
    aside = list(tmp_path.glob("*.damaged-*[0-9]"))
    assert len(aside) == bool(warning and "aside" in warning)


def test_a_file_that_is_removed_while_it_is_used() -> None:
    db, fake = kept()
    with db:
        db.execute("SELECT ai.complete('a')")
        Path(os.environ["SQLLLM_CACHE_FILE"]).unlink()
        assert db.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
    db, again = kept()
    with db:
        db.execute("SELECT ai.complete('a')")
    assert (fake.inputs, again.inputs) == (["a", "a"], [])


def in_process(code: str, file: Path) -> list[str]:
    """What a script printed that asks for answers and counts what it was told."""
    script = f"""
import ctypes, os, resource, signal, warnings, sqlllm
fake = sqlllm.FakeModel(lambda task, text: text.upper(), fingerprint="one")
def ask(*texts, **settings):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with sqlllm.connect(models={{"fake": fake}}, model="fake", record=False, **settings) as db:
            rows = db.execute("SELECT ai.complete(x) FROM (SELECT unnest($1) AS x)", [list(texts)])
            print(len(rows.fetchall()), len(fake.inputs), [str(w.message) for w in told])
{code}
"""
    env = {**os.environ, "SQLLLM_CACHE_FILE": str(file)}
    run = [sys.executable, "-c", script]
    out = subprocess.run(run, capture_output=True, text=True, env=env, check=False)
    assert out.returncode == 0, out.stderr
    return [line for line in out.stdout.splitlines() if line[:1].isdigit()]


@pytest.mark.skipif(sys.platform != "linux" and os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_t_be_written(tmp_path: Path) -> None:
    """The answers come all the same, and once in the process."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    code = """
ask('a', cache='off')  # imports everything
if not os.getuid():
    ctypes.CDLL(None).setfsuid(65534)  # root could write
ask('b', 'c')
ask('b', 'c')
"""
    _, first, second = in_process(code, closed / "kept" / "answers.sqlite")
    assert first.startswith('2 3 ["')
    assert re.search(r"answers.sqlite can't be written: .*Permission denied", first)
    assert "the folder can be written" in first
    assert second == "2 3 []"


def test_a_full_disk(tmp_path: Path) -> None:
    code = """
ask('a')
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))
texts = [str(i) * 40 for i in range(2000)]
ask(*texts)
ask(*texts)
"""
    file = tmp_path / "answers.sqlite"
    first, second, third = in_process(code, file)
    assert first == "1 1 []"
    assert second.startswith('2000 2001 ["')
    assert "answers.sqlite can't be written: " in second
    assert third == "2000 2001 []"
    db, _ = kept(cache="only", cache_file=str(file))
    with db:  # what was there before is still
        assert db.execute("SELECT ai.complete('a')").fetchone() == ("A",)


def test_a_clock_that_goes_backwards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = BlockCache(Database(tmp_path / "answers.sqlite", SCHEMA), 1 << 30)
    lane = Lane(sqlllm.FakeModel(shout), sqlllm.Task("complete"))
    for i, hour in enumerate((3, 1, 2)):
        monkeypatch.setattr(time, "time", lambda hour=hour: 3600.0 * hour)
        texts = pa.array([str(i)])
        cache.keep(lane, keys_of(texts), pa.array([str(i).encode()]))
        assert cache.find(lane, keys_of(pa.array(["0"]))).to_pylist() == [b"0"]
    used = cache.database.read(lambda con: con.execute("SELECT max(used) FROM blocks").fetchone())
    assert used == (3 * 3600.0,)


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(BlockCache, "TIDY", 1)
    monkeypatch.setattr(BlockCache, "FULL", 0)
    cache = BlockCache(Database(None, SCHEMA), max_bytes=10 * 120)
    lane = Lane(sqlllm.FakeModel(shout), sqlllm.Task("complete"))
    keys = keys_of(pa.array([str(i) for i in range(30)]))
    for i in range(30):
        now += 3600
        cache.keep(lane, keys[i : i + 1], pa.array([bytes(100)]))
        assert cache.find(lane, keys[:1]).null_count == 0  # used all the time
    there = [i for i, answer in enumerate(cache.find(lane, keys)) if answer.is_valid]
    assert there == [0, *range(30 - len(there) + 1, 30)]
    assert 8 <= len(there) <= 10


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_it_is_a_dict_that_two_processes_share(data: st.DataObject) -> None:
    """Whatever is kept, merged and dropped: an answer is the one that was kept, or not there."""
    path = Path(os.environ["SQLLLM_CACHE_FILE"]).parent / f"{os.urandom(8).hex()}.sqlite"
    both = [BlockCache(Database(path, SCHEMA), 1 << 30) for _ in range(2)]
    lanes = [Lane(sqlllm.FakeModel(shout, fingerprint=f), sqlllm.Task("complete")) for f in "ab"]
    expected: dict[tuple[int, str], bytes] = {}
    numbers = st.lists(st.integers(0, 60).map(str), unique=True, min_size=1, max_size=12)
    for _ in range(data.draw(st.integers(1, 40))):
        cache, which = data.draw(st.sampled_from(both)), data.draw(st.integers(0, 1))
        cache.TIDY = data.draw(st.sampled_from([1, 3]))
        lane, texts = lanes[which], data.draw(numbers)
        keys = keys_of(pa.array(texts))
        found = cache.find(lane, keys).to_pylist()
        assert found == [expected.get((which, text)) for text in texts]
        if data.draw(st.booleans()):
            answers = [expected.get((which, t)) or os.urandom(len(t)) for t in texts]
            cache.keep(lane, keys, pa.array(answers))
            expected |= dict(zip([(which, t) for t in texts], answers, strict=True))
    for cache in both:
        cache.database.close()


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


def test_the_file_is_nobody_elses() -> None:
    db, _ = kept()
    with db:
        db.execute("SELECT ai.complete('a')")
        folder = Path(os.environ["SQLLLM_CACHE_FILE"]).parent
        assert {p.stat().st_mode & 0o077 for p in folder.glob("answers*")} == {0}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted in /proc")
def test_a_process_may_use_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 4
    monkeypatch.setattr("sqlllm.storage.MOST_OPEN", most)

    def ask(i: int, *sent: str) -> None:
        db, fake = kept(cache_file=f"{tmp_path}/{i}.sqlite", state_file=f"{tmp_path}/s{i}.sqlite")
        with db:
            assert db.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
        assert fake.inputs == list(sent)

    before = len(list(Path("/proc/self/fd").iterdir()))
    for i in range(5):  # ten files
        ask(i, "a")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3 * most
    (tmp_path / "1.sqlite").unlink()
    ask(0)  # opened again
    ask(1, "a")  # replaced while it was closed
