"""What `ai.search` takes beside DuckDB's own scan: `make bench-search`.

100,000 vectors of 384 numbers, the 10 nearest. Milliseconds are medians of rounds in which each
query runs once. Recall is against numpy. The model answers at once: its time is no part of this.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pyarrow as pa

import sqlllm

ROWS, WIDTH, K, ROUNDS = 100_000, 384, 10, 15
COSINE = f"array_cosine_similarity(vector, getvariable('query')::FLOAT[{WIDTH}])"
QUERIES = {
    "DuckDB, array_cosine_similarity": f"SELECT *, {COSINE} AS score FROM arrays "
    f"ORDER BY score DESC LIMIT {K}",
    f"ai.search, FLOAT[{WIDTH}]": f"FROM ai.search('arrays', 'q', k := {K}, embedding := 'vector')",
    "ai.search, FLOAT[]": f"FROM ai.search('lists', 'q', k := {K}, embedding := 'vector')",
}


def vectors(rows: int, width: int) -> np.ndarray:
    """Random unit vectors, shape (rows, width)."""
    drawn = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def nearest(matrix: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """The rows with the highest cosine, by brute force in float64."""
    return np.argsort(-(matrix.astype(np.float64) @ query), kind="stable")[:k].tolist()


def load(db: sqlllm.Connection, matrix: np.ndarray) -> None:
    """The tables `lists` and `arrays`, with the columns id, text and vector."""
    rows, width = matrix.shape
    ends = pa.array(np.arange(rows + 1, dtype=np.int32) * width)
    lists = pa.ListArray.from_arrays(ends, pa.array(matrix.reshape(-1)))
    table = pa.table({"id": np.arange(rows), "vector": lists})
    db.register("loaded", table)
    db.execute("CREATE TABLE lists AS SELECT id, 'text ' || id AS text, vector FROM loaded")
    db.execute(
        f"CREATE TABLE arrays AS SELECT * REPLACE (vector::FLOAT[{width}] AS vector) FROM lists"
    )
    db.unregister("loaded")


def main() -> None:
    """Print the figures."""
    matrix = vectors(ROWS + 1, WIDTH)
    query, matrix = matrix[-1], matrix[:-1]
    fake = sqlllm.FakeModel(lambda task, text: query.tolist())
    with sqlllm.connect(models={"fake": fake}, embed_model="fake") as db:
        load(db, matrix)
        db.execute("SET VARIABLE query = ai.embed('q')")
        expected = nearest(matrix, query, K)
        seconds: dict[str, list[float]] = {name: [] for name in QUERIES}
        found = {}
        for _ in range(ROUNDS):
            for name, sql in QUERIES.items():
                started = time.perf_counter()
                found[name] = [row[0] for row in db.execute(sql).fetchall()]
                seconds[name].append(time.perf_counter() - started)
        base = statistics.median(next(iter(seconds.values())))
        for name, taken in seconds.items():
            median = statistics.median(taken)
            recall = len(set(found[name]) & set(expected)) / K
            print(f"{name}: {median * 1e3:.0f} ms, {median / base:.2f}x, recall {recall:.2f}")


if __name__ == "__main__":
    main()
