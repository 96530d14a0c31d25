"""What a million rows answered from the cache take, beside a hash join: `make bench-cache`.

Both read the same table of texts and give the same answers: the join finds them in a table of
texts and answers, `ai.complete` in the cache file. Both write a table of texts and answers, as a
job does, and both count only, which leaves nothing but the finding. Medians of rounds in which each
runs once, and their ratio. Each case is a process of its own, and so is each query whose peak of
memory is taken, with all that Python, DuckDB and the libraries hold (as Linux tells it).
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sqlllm

ROWS, ROUNDS = 1_000_000, 7
SHORT = "'text ' || number"
LONG = f"repeat('lorem ipsum dolor sit amet consectetur ', 7) || ' ' || number || {SHORT}"
CASES = {
    "10,000 distinct texts of 10 characters": (SHORT, 10_000),
    "1,000,000 distinct texts of 11 characters": (SHORT, ROWS),
    "10,000 distinct texts of 300 characters": (LONG, 10_000),
    "1,000,000 distinct texts of 300 characters": (LONG, ROWS),
}
JOIN = "SELECT x, answer FROM t JOIN answers USING (x)"
CACHED = "SELECT x, ai.complete(x) AS answer FROM t"
WAYS = {
    "a table": "CREATE OR REPLACE TABLE written AS {}",
    "counted": "SELECT count(answer), max(answer) FROM ({})",
}
THREADS = (1, os.cpu_count())
EQUAL = "SELECT count(*), count(answer), bool_and(answer = upper(right(x, 9))) FROM written"


def measure(text: str, distinct: int, folder: Path) -> dict[tuple[str, int], list[float]]:
    """Median seconds of the join and of the cached query, each way and by threads of DuckDB's."""
    fake = sqlllm.FakeModel(lambda task, text: text[-9:].upper(), fingerprint="bench")
    with connect(fake, folder) as db:
        db.execute(
            f"CREATE TABLE t AS SELECT {text} AS x FROM "
            f"(SELECT i * 7919 % {distinct} AS number FROM range({ROWS}) r(i))"
        )
        db.execute("CREATE TABLE answers AS SELECT DISTINCT x, upper(right(x, 9)) AS answer FROM t")
        for way in WAYS.values():
            assert found(db, way.format(JOIN)) == found(db, way.format(CACHED))
        asked = len(fake.inputs)
        fake.inputs.clear()
        assert asked == distinct, asked
        taken = {(way, threads): ([], []) for way in WAYS for threads in THREADS}
        for _, (way, threads) in itertools.product(range(ROUNDS), taken):
            db.execute(f"SET threads = {threads}")
            for seconds, query in zip(taken[way, threads], (JOIN, CACHED), strict=True):
                started = time.perf_counter()
                found(db, WAYS[way].format(query))
                seconds.append(time.perf_counter() - started)
            assert found(db, EQUAL) == [(ROWS, ROWS, True)]
        assert not fake.inputs
    return {case: list(map(statistics.median, both)) for case, both in taken.items()}


def connect(fake: sqlllm.FakeModel, folder: Path, cache: str = "on") -> sqlllm.Connection:
    """The database and the cache file of a case."""
    return sqlllm.connect(
        str(folder / "w.duckdb"),
        progress=False,
        models={"fake": fake},
        model="fake",
        cache=cache,
        cache_file=str(folder / "c.sqlite"),
    )


def found(db: sqlllm.Connection, statement: str) -> list[tuple[object, ...]]:
    """The statement's rows."""
    return db.execute(statement).fetchall()


def peak(statement: str, folder: Path) -> int:
    """Megabytes that a process which runs the statement takes at most."""
    done = subprocess.run(
        [sys.executable, __file__, statement, folder], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout)


def main() -> None:
    """Print the figures."""
    if len(sys.argv) == 3:
        fake = sqlllm.FakeModel(str, fingerprint="bench")
        with connect(fake, Path(sys.argv[2]), cache="only") as db:
            found(db, sys.argv[1])
        held = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print(int(held) >> 10, flush=True)
    elif len(sys.argv) == 2:
        name = sys.argv[1]
        with tempfile.TemporaryDirectory() as folder:
            taken = measure(*CASES[name], Path(folder))
            print(name)
            for (way, threads), (join, cached) in taken.items():
                print(
                    f"  {way}, threads {threads}: join {join:.3f} s, cached {cached:.3f} s, "
                    f"{cached / join:.1f} times"
                )
            for way, statement in WAYS.items():
                most = [peak(statement.format(query), Path(folder)) for query in (JOIN, CACHED)]
                print(f"  {way}: join {most[0]} MB, cached {most[1]} MB")
    else:
        for name in CASES:
            subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
