"""What a million rows answered from the cache take, beside a hash join: `make bench-cache`.

Both read the same table of texts and give the same answers: the join finds them in a table of
texts and answers, `ai.complete` in the cache file. Medians of rounds in which each runs once, and
their ratio; memory is that of the whole process, with tables. Each case is a process of its own.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

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
JOIN = "SELECT count(answer), max(answer) FROM t JOIN answers USING (x)"
CACHED = "SELECT count(answer), max(answer) FROM (SELECT ai.complete(x) AS answer FROM t)"


def measure(text: str, distinct: int, folder: Path) -> tuple[float, float, int]:
    """Median seconds of the join and of the cached query, and the most bytes the process took."""
    fake = sqlllm.FakeModel(lambda task, text: text[-9:].upper(), fingerprint="bench")
    settings = {"models": {"fake": fake}, "model": "fake", "cache_file": str(folder / "c.sqlite")}
    with sqlllm.connect(str(folder / "w.duckdb"), progress=False, **settings) as db:
        db.execute(
            f"CREATE TABLE t AS SELECT {text} AS x FROM "
            f"(SELECT i * 7919 % {distinct} AS number FROM range({ROWS}) r(i))"
        )
        db.execute("CREATE TABLE answers AS SELECT DISTINCT x, upper(right(x, 9)) AS answer FROM t")
        expected = db.execute(JOIN).fetchone()
        assert db.execute(CACHED).fetchone() == expected
        asked = len(fake.inputs)
        fake.inputs.clear()
        assert asked == distinct, asked
        joins, queries, most = [], [], 0
        for _ in range(ROUNDS):
            joins.append(seconds(db, JOIN, expected))
            queries.append(seconds(db, CACHED, expected))
            most = max(most, psutil.Process().memory_info().rss)
        assert not fake.inputs
    return statistics.median(joins), statistics.median(queries), most


def seconds(db: sqlllm.Connection, query: str, expected: object) -> float:
    """That the query takes."""
    started = time.perf_counter()
    found = db.execute(query).fetchone()
    taken = time.perf_counter() - started
    assert found == expected
    return taken


def main() -> None:
    """Print the figures."""
    if len(sys.argv) > 1:
        name = sys.argv[1]
        with tempfile.TemporaryDirectory() as folder:
            join, cached, most = measure(*CASES[name], Path(folder))
        print(
            f"{name:<44} join {join:6.3f} s   cached {cached:6.3f} s   {cached / join:5.1f} times"
            f"   {most >> 20:5} MB"
        )
        return
    for name in CASES:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
