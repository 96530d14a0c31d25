"""The same question about the same 200 rows in every tool: one cache, one set of answers.

The tool that asks first sends each distinct text once; every other sends nothing. To add a tool,
write a function that returns the rows and name it in `TOOLS`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import sqlllm
from sqlllm import polars as ai

Rows = list[tuple[int, str | None, list[float] | None]]

FILE = Path(__file__).parent.parent / "examples" / "tickets.csv"
LABELS = ["account", "billing", "bug", "delivery", "feature request", "praise"]
TICKETS = f"SELECT id, left(body, 200) AS body FROM read_csv('{FILE}') WHERE id <= 200"
QUERY = (
    f"SELECT id, ai.classify(body, {LABELS}) AS topic, ai.embed(body) AS vector FROM ({TICKETS})"
)
NOTED = "FROM ai.usage"
"""Writes what was asked to the state file, as `close` does on a planned connection."""
WRITE = "import json, pathlib; pathlib.Path('rows.json').write_text(json.dumps(rows.rows()))"


def sql() -> Rows:
    with sqlllm.connect() as db:
        return db.execute(QUERY).fetchall()


def plain_duckdb() -> Rows:
    with duckdb.connect() as con:
        rows = sqlllm.install(con).execute(QUERY).fetchall()
        con.execute(NOTED)
        return rows


def polars(frame: Callable[[pl.DataFrame], Any], engine: str | None = None) -> Rows:
    with sqlllm.connect() as db, ai.using(db):
        body = pl.col("body")
        tickets = frame(db.sql(TICKETS).pl())
        asked = tickets.select("id", topic=body.ai.classify(LABELS), vector=body.ai.embed())
        return (asked.collect(engine=engine) if engine else asked).rows()


def polars_eager() -> Rows:
    return polars(lambda df: df)


def polars_lazy() -> Rows:
    return polars(lambda df: df.lazy(), engine="in-memory")


def polars_streaming() -> Rows:
    return polars(lambda df: df.lazy(), engine="streaming")


def command_line() -> Rows:
    command = [sys.executable, "-m", "sqlllm", "sql", QUERY, "--format", "json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [tuple(json.loads(line).values()) for line in out.splitlines()]


def dbt() -> Rows:
    runner = pytest.importorskip("dbt.cli.main", reason="dbt is not installed").dbtRunner()
    connections = pytest.importorskip("dbt.adapters.duckdb", reason="dbt-duckdb is not installed")
    Path("models").mkdir()
    Path("models/answers.sql").write_text(f"{{{{ config(materialized='table') }}}}\n{QUERY}")
    Path("dbt_project.yml").write_text(
        "{name: p, profile: p, flags: {send_anonymous_usage_stats: false}}"
    )
    Path("profiles.yml").write_text(
        "p: {target: t, outputs: {t: {type: duckdb, path: w.duckdb, threads: 2, "
        "plugins: [{module: sqlllm.dbt}]}}}"
    )
    done = runner.invoke(["build", "--profiles-dir", ".", "--quiet"])
    connections.DuckDBConnectionManager.close_all_connections()
    assert done.success, done.exception or done.result
    with duckdb.connect("w.duckdb") as con:
        return con.execute("FROM answers").fetchall()


def notebook() -> Rows:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    cells = ("%load_ext sqlllm", f"%%ai --polars -o rows\n{QUERY}", f"%ai {NOTED}", WRITE)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    nbclient.NotebookClient(book, timeout=100).execute()
    return [tuple(row) for row in json.loads(Path("rows.json").read_text())]


def sqlalchemy() -> Rows:
    sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
    pytest.importorskip("duckdb_engine", reason="duckdb-engine is not installed")
    engine = sa.create_engine("duckdb:///w.duckdb")
    sa.event.listen(engine, "connect", lambda connection, _: sqlllm.install(connection))
    tickets = sa.text(TICKETS).columns(sa.column("id"), sa.column("body")).subquery()
    body = tickets.c.body
    query = sa.select(tickets.c.id, sa.func.ai.classify(body, LABELS), sa.func.ai.embed(body))
    with engine.connect() as con:
        rows = [tuple(row) for row in con.execute(query)]
        con.execute(sa.text(NOTED))
    engine.dispose()
    return rows


def ibis() -> Rows:
    ibis = pytest.importorskip("ibis", reason="Ibis is not installed")

    @ibis.udf.scalar.builtin(database="ai")
    def classify(text: str, labels: list[str]) -> str: ...

    @ibis.udf.scalar.builtin(database="ai", signature=((str,), ibis.dtype("array<float32>")))
    def embed(text): ...  # type: ignore[no-untyped-def]  # the signature says what it takes

    with sqlllm.connect() as db:
        db.execute(f"CREATE TABLE tickets AS {TICKETS}")
        t = ibis.duckdb.from_connection(db).table("tickets")
        asked = t.select(t.id, topic=classify(t.body, LABELS), vector=embed(t.body))
        answered = asked.to_pyarrow()
    return [tuple(row.values()) for row in answered.to_pylist()]


TOOLS: tuple[Callable[[], Rows], ...] = (
    sql,
    plain_duckdb,
    polars_eager,
    polars_lazy,
    polars_streaming,
    command_line,
    dbt,
    sqlalchemy,
    ibis,
    notebook,
)


def rows_of(query: str) -> list[tuple[Any, ...]]:
    with sqlllm.connect() as db:
        return db.execute(query).fetchall()


ASKED = 'SELECT "function", "rows", cached, sent FROM ai.usage ORDER BY started'


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def first() -> list[Rows]:
    """Gets the answers of the tool that asks first."""
    return []


@pytest.mark.filterwarnings("ignore")  # those of dbt, Ibis and duckdb-engine
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_same_answers(
    tool: Callable[[], Rows],
    kept: Path,
    first: list[Rows],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SQLLLM_CACHE_FILE", str(kept / "answers.sqlite"))
    monkeypatch.setenv("SQLLLM_STATE_FILE", str(kept / "state.sqlite"))
    monkeypatch.chdir(tmp_path)
    before = rows_of(ASKED)
    rows = sorted(map(tuple, tool()))
    new = rows_of(ASKED)[len(before) :]
    if not first:
        first.append(rows)
        assert len(rows) == len({row[0] for row in rows}) == 200
        assert sum(topic is None and vector is None for _, topic, vector in rows) == 5
    ((texts,),) = rows_of(f"SELECT count(DISTINCT body) FROM ({TICKETS})")
    counts = (texts, 0) if before else (0, texts)
    assert sorted(new) == [("classify", 200, *counts), ("embed", 200, *counts)]
    assert rows == first[0]
