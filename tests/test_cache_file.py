"""What happens to the cache file: damage, full disks, closed folders, clocks."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cache import kept, shout

import sqlllm
from sqlllm.runtime.blocks import SCHEMA
from sqlllm.runtime.cache import BlockCache
from sqlllm.runtime.keys import Lane, keys_of
from sqlllm.runtime.state import SCHEMA as STATE
from sqlllm.storage import Database


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


def test_a_file_that_is_removed_under_a_process_answers_nothing_any_more(tmp_path: Path) -> None:
    """Blocks of the new one have the numbers of those that were read."""
    cache = BlockCache(Database(tmp_path / "answers.sqlite", SCHEMA), 1 << 30)
    lane = Lane(sqlllm.FakeModel(shout), sqlllm.Task("complete"))
    keys = keys_of(pa.array(["a", "b"]))
    cache.keep(lane, keys[:1], pa.array([b"A"]))
    assert cache.find(lane, keys).to_pylist() == [b"A", None]
    for file in tmp_path.glob("answers*"):
        file.unlink()
    cache.keep(lane, keys[1:], pa.array([b"B"]))
    assert cache.find(lane, keys).to_pylist() == [None, b"B"]


def test_blocks_that_there_is_no_room_to_hold_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BlockCache, "HELD", 1)
    lane = Lane(sqlllm.FakeModel(shout, fingerprint="one"), sqlllm.Task("complete"))
    keys = keys_of(pa.array([f"text {i}" for i in range(40_000)]))
    answers = pa.array([f"TEXT {i}".encode() for i in range(40_000)])
    cache = BlockCache(Database(tmp_path / "answers.sqlite", SCHEMA), 1 << 30)
    cache.keep(lane, keys, answers)
    for _ in range(2):
        assert cache.find(lane, keys) == answers
        assert len(cache._decoded) == 1


def test_a_damaged_block_of_a_file_that_is_only_read_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    lane = Lane(sqlllm.FakeModel(shout, fingerprint="one"), sqlllm.Task("complete"))
    keys = keys_of(pa.array([f"text {i}" for i in range(20_000)]))
    answers = pa.array([f"TEXT {i}".encode() for i in range(20_000)])
    written = BlockCache(Database(path, SCHEMA), 1 << 30)
    written.keep(lane, keys, answers)
    spoil = "UPDATE contents SET answers = zeroblob(length(answers)) WHERE block = 1"
    written.database.write(lambda con: con.execute(spoil))
    read = BlockCache(Database(path, SCHEMA, read_only=True), 1 << 30)
    with pytest.warns(sqlllm.StorageWarning, match="block 1 is damaged, and is not read"):
        found = read.find(lane, keys)
    assert found.to_pylist() == [*[None] * 16_384, *answers[16_384:].to_pylist()]
    assert read.find(lane, keys) == found


def test_a_file_that_another_process_has_just_begun_anew_is_not_set_aside(tmp_path: Path) -> None:
    """Both found the damage: who comes second finds a sound file."""
    path = tmp_path / "answers.sqlite"
    first, second = Database(path, SCHEMA), Database(path, SCHEMA)
    first.write(
        lambda con: con.execute("INSERT INTO contents VALUES (1, 0, '', '', ?)", ["x" * 10**5])
    )
    for each in (first, second):
        each.read(lambda con: con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    damaged_pages(path)
    read = "SELECT count(*), sum(length(answers)) FROM contents"

    def late(con: sqlite3.Connection) -> Any:
        first.read(lambda own: own.execute(read).fetchall())
        return con.execute(read).fetchall()

    with pytest.warns(sqlllm.StorageWarning, match="was set aside"):
        assert second.read(late) == [(0, None)]
    assert len(list(tmp_path.glob("*.damaged-*[0-9]"))) == 1


def another_application(path: Path) -> None:
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE users (name TEXT)")
        con.execute("PRAGMA user_version = 1")
    con.close()


def damaged_and_of_another(path: Path) -> None:
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE lanes (name TEXT)")
        con.executemany("INSERT INTO lanes VALUES (?)", [("x" * 500,)] * 100)
    con.close()
    with path.open("r+b") as file:
        file.seek(60)
        file.write(b"\xff" * 9000)


def a_state_file(path: Path) -> None:
    database = Database(path, STATE)
    database.read(lambda con: con.execute("SELECT * FROM runs").fetchall())
    database.close()


@pytest.mark.parametrize(
    "made",
    [
        lambda path: path.write_text("# Read me\n" * 1000),
        lambda path: path.write_bytes(b"short"),
        lambda path: duckdb.connect(str(path)).execute("CREATE TABLE t AS SELECT 1").close(),
        another_application,
        damaged_and_of_another,
        a_state_file,
    ],
    ids=["text", "short", "DuckDB", "SQLite", "damaged", "state"],
)
def test_a_file_of_somebody_else_is_left_as_it_is(made: Any, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    made(path)
    before = path.read_bytes()
    fake = sqlllm.FakeModel(shout, fingerprint="one")
    given = {"models": {"fake": fake}, "model": "fake", "cache_file": str(path)}
    said = pytest.warns(sqlllm.StorageWarning, match="is no file of sqlllm's, and is left")
    with sqlllm.connect(**given) as db, said:
        assert db.execute("SELECT ai.complete('a')").fetchall() == [("A",)]
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("precious*")] == ["precious"]


def test_a_file_of_before_is_taken_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    for sql, mark in (("PRAGMA application_id = 0", bytes(4)), ("SELECT 1", b"sqlm")):
        database = Database(path, SCHEMA)
        database.read(lambda con, sql=sql: con.execute(sql).fetchall())  # type: ignore[misc]
        database.read(lambda con: con.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
        database.close()
        assert path.read_bytes()[68:72] == mark


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


@settings(max_examples=60)
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


def test_files_are_closed_by_themselves(tmp_path: Path) -> None:
    """Else Python 3.13 warns at exit, of tests with `-W error` too."""
    code = """
import sqlllm
fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="one")
db = sqlllm.connect(models={"fake": fake}, model="fake")
db.execute("SELECT ai.complete('x')").fetchall()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_questions_that_are_asked_once_stay_in_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("LANES", 4), ("MARKS", 5), ("HELD", 4 * 1100)):
        monkeypatch.setattr(BlockCache, name, most)
    cache = BlockCache(Database(None, SCHEMA), 40 * 30)
    model, keys = sqlllm.FakeModel(shout), keys_of(pa.array(["a"]))
    lanes = [Lane(model, sqlllm.Task("complete", system=f"question {i}")) for i in range(100)]
    for lane in lanes:
        cache.keep(lane, keys, pa.array([lane.digest]))
    found = [cache.find(lane, keys)[0].as_py() for lane in lanes]
    there = [answer for answer in found if answer]
    assert there == [lane.digest for lane in lanes if lane.digest in there]
    assert found == [*[None] * (100 - len(there)), *there]  # the others were dropped for the room
    assert max(len(cache._lanes), len(cache._decoded), len(cache._marked)) <= 6
    count = "SELECT count(*) FROM lanes"
    (known,) = cache.database.read(lambda con: con.execute(count).fetchone())
    assert 0 < known == len(there) < 100
