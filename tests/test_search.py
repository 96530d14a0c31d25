from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pytest
from bench_search import load, nearest, vectors

import sqlllm

DIRECTIONS = {"north": [1, 0, 0], "north-east": [1, 1, 0], "east": [0, 1, 0], "up": [0, 0, 1]}
PLACES = """
CREATE TABLE places AS SELECT * FROM (VALUES
    (1, 'up', 'a'), (2, 'east', 'b'), (3, NULL, 'c'), (4, 'north', 'd'), (5, 'north-east', 'e'),
    (6, 'east', 'f')) v(id, text, score);
CREATE TABLE stored AS SELECT id, ai.embed(text) AS list, ai.embed(text)::FLOAT[3] AS fixed
    FROM places;
CREATE VIEW seen AS SELECT * FROM places WHERE id > 1;
"""


@pytest.fixture
def compass() -> sqlllm.FakeModel:
    return sqlllm.FakeModel(lambda task, text: DIRECTIONS[text])


@pytest.fixture(params=["planned", "installed"])
def places(request: pytest.FixtureRequest, compass: sqlllm.FakeModel) -> Iterator[Any]:
    options: dict[str, Any] = {"models": {"compass": compass}, "embed_model": "compass"}
    if request.param == "planned":
        db = sqlllm.connect(**options)
    else:
        db = sqlllm.install(duckdb.connect(), **options)
    db.execute(PLACES)
    yield db
    db.close()


def ids(db: Any, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in db.execute(query, *parameters).fetchall()]


NEAREST = [4, 5, 1, 2, 6]  # to north: itself, north-east; then ties, by the first column


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ai.search('places', 'north')", NEAREST),
        ("ai.search(places, 'north', k := 2)", NEAREST[:2]),
        ("ai_search('places', 'north', k := 2)", NEAREST[:2]),
        ("ai.search('places', 'north', k := 0)", []),
        ("ai.search('places', 'north', k := NULL)", NEAREST),
        ("ai.search('seen', 'north')", [4, 5, 2, 6]),
        ("ai.search('main.places', 'north', text := 'TEXT', truncate := true)", NEAREST),
        ("ai.search('stored', 'north', embedding := 'list')", NEAREST),
        ("ai.search('stored', 'north', embedding := 'Fixed')", NEAREST),
        ("ai.search('places', NULL)", []),
        ("ai.search('places', (SELECT text FROM places WHERE id = 4), k := 1)", [4]),
    ],
)
def test_search(places: Any, source: str, expected: list[int]) -> None:
    assert ids(places, f"FROM {source}") == expected
    assert ids(places, f"WITH q AS (FROM {source}) FROM q") == expected


def test_search_gives_all_columns_and_the_cosine(places: Any) -> None:
    rows = places.execute("FROM ai.search('places', 'north', k := 2)").fetchall()
    assert [column[0] for column in places.description] == ["id", "text", "score"]
    assert rows == [(4, "north", 1.0), (5, "north-east", pytest.approx(0.5**0.5))]
    rows = places.execute(
        "SELECT fixed, score FROM ai.search('stored', 'up', embedding := 'fixed', k := 1)"
    )
    assert rows.fetchall() == [((0.0, 0.0, 1.0), 1.0)]


def test_search_in_a_cte_and_with_parameters(places: Any) -> None:
    near = "WITH d AS (SELECT * FROM places WHERE id <> 4) FROM ai.search('d', $1, k := $2)"
    assert ids(places, near, ["north", 2]) == [5, 1]
    assert ids(places, near, ["up", 1]) == [1]
    places.execute("PREPARE near AS FROM ai.search('stored', $1, k := 2, embedding := 'list')")
    assert ids(places, "EXECUTE near('north')") == [4, 5]
    assert ids(places, "EXECUTE near('up')")[0] == 1
    places.execute("CREATE VIEW up AS FROM ai.search('places', 'up', k := 1)")
    assert ids(places, "FROM up") == [1]


def test_search_for_each_row(places: Any) -> None:
    rows = places.execute(
        "SELECT q.id, s.id FROM places q, ai.search('places', q.text, k := 2) s "
        "WHERE q.id <> s.id AND q.text = s.text ORDER BY ALL"
    )
    assert rows.fetchall() == [(2, 6), (6, 2)]


def test_rows_without_a_vector_are_left_out(places: Any) -> None:
    count = "SELECT count(*) FROM ai.search('stored', 'up', embedding := 'list')"
    assert places.execute(count).fetchone() == (5,)
    places.execute("CREATE TABLE odd AS FROM (VALUES (1, [0.0, 0, 0]), (2, [0.1, 1, 1])) t(id, v)")
    assert ids(places, "FROM ai.search('odd', 'north', k := 1, embedding := 'v')") == [2]


def test_the_query_is_embedded_once(places: Any, compass: sqlllm.FakeModel) -> None:
    places.execute("CREATE TABLE many AS SELECT [1.0, i, 0]::FLOAT[] AS v FROM range(10000) t(i)")
    compass.fingerprint = uuid.uuid4().hex  # nothing is cached
    compass.inputs.clear()
    assert len(places.execute("FROM ai.search('many', 'up', embedding := 'v')").fetchall()) == 10
    assert compass.inputs == ["up"]
    usage = "SELECT rows FROM ai.usage WHERE this_session ORDER BY query_id DESC LIMIT 1"
    assert places.execute(usage).fetchone() == (1,)


def test_texts_are_embedded_as_one_batch(fake: sqlllm.FakeModel) -> None:
    rows, batches = {}, {}
    for rewrite in (True, False):
        fake.fingerprint = uuid.uuid4().hex  # nothing is cached
        fake.batches.clear()
        with sqlllm.connect(models={"fake": fake}, embed_model="fake", rewrite=rewrite) as db:
            db.execute("CREATE TABLE t AS SELECT 'text ' || i AS text FROM range(5000) t(i)")
            rows[rewrite] = db.execute("FROM ai.search('t', 'text', k := 3)").fetchall()
        batches[rewrite] = sorted(fake.batches)
    assert rows[True] == rows[False]
    # DuckDB may ask for the query's own vector at the same time: then it goes along.
    assert batches[True] in ([1, 5000], [5001])
    assert sum(batches[False]) == 5001
    assert max(batches[False]) in (2048, 2049)


def test_explain_counts_the_texts_of_a_search(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    db.execute("CREATE TABLE t AS SELECT 'text ' || i % 7 AS text FROM range(50) t(i)")
    (call,) = db.explain("FROM ai.search('t', 'a', k := 3)").calls
    assert (call.call, call.rows, call.distinct) == ("ai.search('t', 'a', k := 3)", 50, 7)
    assert call.note == "and the query itself"
    assert fake.inputs == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ai.search('places', 'up', text := 'txt')", "'txt'"),
        ("ai.search('places', 'up', embedding := 'vector')", "'vector'"),
        ("ai.search('nowhere', 'up')", "nowhere"),
        (
            "ai.search('places', 'up', embedding := 'text')",
            "the column text holds VARCHAR, not vec",
        ),
        (
            "ai.search('places', 'up', embedding := 'id')",
            "the column id holds INTEGER, not vectors",
        ),
        ("ai.search('stored', 'up', text := 'id', k := -1)", "negative"),
    ],
)
def test_search_names_what_is_wrong(places: Any, source: str, message: str) -> None:
    with pytest.raises((duckdb.Error, sqlllm.CallError), match=message):
        places.execute(f"FROM {source}").fetchall()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("FROM ai.search('t', 'a', text := 'bdy')", "t has no column 'bdy'.*\n.*`body`"),
        ("FROM ai.search('t', 'a')", "t has no column 'text'"),
        ("WITH c AS (FROM t) FROM ai.search(c, 'a', embedding := 'x')", "c has no column 'x'"),
        ("FROM ai.search('t', 'a', txt := 'body')", "no argument 'txt'"),
    ],
)
def test_planned_search_says_what_was_meant(
    db: sqlllm.Connection, query: str, message: str
) -> None:
    db.execute("CREATE TABLE t AS SELECT 'a' AS body")
    with pytest.raises(sqlllm.CallError, match=message):
        db.execute(query)


def test_vectors_of_another_model_are_refused(places: Any) -> None:
    places.execute("CREATE TABLE other AS SELECT [1.0, 2.0] AS v")
    with pytest.raises(duckdb.Error, match="dimensions must be equal"):
        places.execute("FROM ai.search('other', 'up', embedding := 'v')").fetchall()


@pytest.mark.parametrize("table", ["lists", "arrays"])
def test_search_finds_exactly_the_nearest(table: str) -> None:
    matrix = vectors(3000, 24)
    model = sqlllm.FakeModel(lambda task, text: matrix[int(text)] + matrix[int(text) + 1] / 4)
    with sqlllm.connect(models={"m": model}, embed_model="m") as db:
        load(db, matrix)
        for at in range(0, 200, 10):
            query = matrix[at] + matrix[at + 1] / 4
            found = ids(db, f"FROM ai.search('{table}', '{at}', k := 20, embedding := 'vector')")
            assert found == nearest(matrix, query / np.linalg.norm(query), 20)


def test_the_form_that_an_index_can_use_finds_the_same(places: Any) -> None:
    """DuckDB's vss looks for a constant vector in ORDER BY ... LIMIT; it isn't installed here."""
    places.execute("SET VARIABLE query = ai.embed('north')")
    order = "ORDER BY array_cosine_distance(fixed, getvariable('query')::FLOAT[3]) LIMIT 2"
    assert ids(places, f"SELECT id FROM stored {order}") == NEAREST[:2]
    ((_, shown),) = places.execute(f"EXPLAIN SELECT id FROM stored {order}").fetchall()
    assert "[1.0, 0.0, 0.0]" in " ".join(shown.split())
    assert "getvariable" not in shown


def test_rrf_of_small_integers() -> None:
    with sqlllm.connect() as db:
        found = db.execute("SELECT ai.rrf([100::TINYINT]), ai.rrf([255::UTINYINT])").fetchone()
    assert found == (1 / 160, 1 / 315)


def test_rrf() -> None:
    with sqlllm.connect() as db:
        row = db.execute(
            "SELECT ai.rrf([1, 2]), ai.rrf([1, NULL]), ai.rrf([NULL, NULL]::INT[]), ai.rrf([]), "
            "ai.rrf(NULL), ai.rrf([1], k := 0), ai_rrf([3, 1, 2])"
        ).fetchone()
    assert row == (
        pytest.approx(1 / 61 + 1 / 62), pytest.approx(1 / 61), None, None, None, 1.0,
        pytest.approx(1 / 61 + 1 / 62 + 1 / 63),
    )  # fmt: skip


def test_hybrid_search(places: Any) -> None:
    rows = places.execute("""
        WITH meaning AS (
            SELECT id, row_number() OVER (ORDER BY score DESC, id) AS rank
            FROM ai.search('places', 'north-east', k := 3)),
        words AS (
            SELECT id, row_number() OVER (ORDER BY jaccard(text, 'east') DESC, id) AS rank
            FROM places WHERE contains(text, 'east'))
        SELECT id, ai.rrf([meaning.rank, words.rank]) AS score
        FROM meaning FULL JOIN words USING (id) ORDER BY score DESC, id""").fetchall()
    assert rows == [
        (2, pytest.approx(1 / 62 + 1 / 61)), (5, pytest.approx(1 / 61 + 1 / 63)),
        (6, pytest.approx(1 / 62)), (4, pytest.approx(1 / 63)),
    ]  # fmt: skip
