"""How many batches a statement sends, and how large they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from both import Both

import sqlllm
from sqlllm.runtime.statement import Statement
from sqlllm.runtime.texts import Texts

MANY = "SELECT i AS id, 'text ' || (i % 6000) AS x FROM range(20000) r(i)"


@pytest.fixture
def many() -> Iterator[tuple[sqlllm.Connection, sqlllm.FakeModel]]:
    fake = sqlllm.FakeModel(lambda task, text: True if task.yes_no else text.upper())
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off") as db:
        db.execute(f"CREATE TABLE many AS {MANY}")
        yield db, fake


@pytest.mark.parametrize(
    ("query", "batches"),
    [
        ("SELECT id, ai.complete(x) FROM many", [6000]),
        ("SELECT id, ai.complete(x) FROM many WHERE ai.filter(x, 'q')", [6000, 6000]),
        ("SELECT ai.complete(ai.complete(x)) FROM many", [6000, 6000]),
        ("SELECT ai.complete(x) AS y, count(*) FROM many GROUP BY y ORDER BY y", [6000]),
        ("SELECT id % 6000 AS k, ai.complete(max(x)) FROM many GROUP BY k", [6000]),
        ("SELECT ai.complete(x) FROM many UNION ALL SELECT ai.complete(x) FROM many", [6000]),
        ("WITH c AS (SELECT ai.complete(x) AS y FROM many) SELECT * FROM c", [6000]),
        (
            "WITH c AS (SELECT ai.complete(x) AS y FROM many), "
            "d AS (SELECT ai.complete(y || '!') AS z FROM c) SELECT * FROM d",
            [6000, 6000],
        ),
        ("SELECT *, ai.complete(y) AS z FROM (SELECT ai.complete(x) AS y FROM many)", [6000, 6000]),
        ("SELECT count(*) FROM many WHERE ai.filter(x, 'q') AND id < 4000", [4000]),
        ("CREATE TEMP TABLE w AS SELECT id, ai.complete(x) AS y FROM many", [6000]),
        ("UPDATE many SET x = ai.complete(x) WHERE id < 3000", [3000]),
        ("DELETE FROM many WHERE ai.filter(x, 'q') AND id < 3000", [3000]),
        (
            "UPDATE many SET x = ai.complete(a.x || b.i) FROM many AS a JOIN range(3000) AS b(i) "
            "ON a.id = b.i WHERE many.id = a.id",
            [3000],
        ),
        ("INSERT INTO many SELECT id, ai.complete(x) FROM many", [6000]),
        (
            "MERGE INTO many USING (SELECT id, ai.complete(x) AS y FROM many WHERE id < 3000) AS s "
            "ON many.id = s.id WHEN MATCHED THEN UPDATE SET x = s.y",
            [3000],
        ),
        ("COPY (SELECT ai.complete(x) FROM many) TO '/dev/null' (FORMAT csv)", [6000]),
        ("SELECT id, ai.complete(x) FROM many ORDER BY id LIMIT 5000", [5000]),
        ("SELECT ai.complete($1 || x) FROM many WHERE id < $2", [3000]),
        ("SELECT unnest({'a': ai.complete(x)}::STRUCT(a VARCHAR, b INT)) FROM many", [6000]),
        ("SELECT id, row_number() OVER (ORDER BY ai.score(x, 'q'), id) AS r FROM many", [6000]),
        (
            "WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 9), "
            "c AS (SELECT ai.complete('c' || n) AS y FROM r) "
            "SELECT ai.complete('r' || n) FROM r UNION ALL FROM c",
            [10, 10],
        ),
        (  # a condition from above is decided first
            "SELECT id FROM (FROM many WHERE ai.filter(x, 'q') AND ai.filter(x, 'r')) "
            "WHERE id < 50",
            [50, 50],
        ),
    ],
)
def test_each_call_sends_its_distinct_inputs_in_one_batch(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel], query: str, batches: list[int]
) -> None:
    db, fake = many
    rows = db.execute(query, ["a", 3000] if "$1" in query else None).fetchall()
    assert fake.batches == batches
    assert db.execute("SELECT sum(sent) FROM ai.usage").fetchone() == (sum(batches),)
    assert len(rows) > 0


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id < 5 AND ai.filter(x, 'q') FROM many",
        "SELECT ai.filter(x, 'q') OR id >= 5 FROM many",
        "SELECT count(*) FILTER (WHERE id < 5 AND ai.filter(x, 'q')) FROM many",
        "SELECT string_agg(ai.complete(x), ',') FILTER (WHERE id < 5) FROM many",
    ],
)
def test_what_needs_no_model_decides_first_in_columns_without_a_name(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel], query: str
) -> None:
    db, fake = many
    rows = db.execute(query).fetchall()
    names = [column[0] for column in db.description]
    assert fake.batches == [5]
    with sqlllm.connect(models={"fake": fake}, model="fake", rewrite=False) as plain:
        plain.execute(f"CREATE TABLE many AS {MANY}")
        assert sorted(plain.execute(query).fetchall()) == sorted(rows)
        assert [column[0] for column in plain.description] == names


def test_texts_take_no_room_of_answers(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More texts than a statement keeps: those that it has are asked as one batch all the same."""
    db, fake = many
    monkeypatch.setattr(Statement, "LIMIT", 3000 * 42)
    monkeypatch.setattr(Texts, "ROWS", 1000)
    monkeypatch.setattr("sqlllm.runtime.runtime.FOUND", 500)
    rows = db.execute("SELECT x, ai.complete(x) FROM many").fetchall()
    assert len(rows) == 20000
    assert all(answer == text.upper() for text, answer in rows)
    assert 3000 <= fake.batches[0] < 6000
    assert len(set(fake.inputs)) == 6000


@pytest.mark.parametrize("cache", ["memory", "off"])
def test_a_statement_keeps_no_more_answers_than_it_may(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel], monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    """What goes beyond is asked with its rows, once where there is a cache, and not kept."""
    fake, limit = many[1], 600 * 1000
    monkeypatch.setattr(Statement, "LIMIT", limit)
    monkeypatch.setattr("sqlllm.runtime.runtime.ASKED", 1000)
    fake.fn = lambda task, text: f"{text:x<600}"
    with sqlllm.connect(models={"fake": fake}, model="fake", cache=cache) as db:
        db.execute(f"CREATE TABLE many AS {MANY}")
        made = db.execute(
            "CREATE TABLE r AS SELECT x, ai.complete(x) AS y FROM many WHERE id < 6000"
        )
        assert made.fetchall() == [(6000,)]
        statement = next(iter(db.runtime.statements._latest.values()))
        assert statement.held < limit + 1000 * 600 + 6000 * 100  # a batch more, and the texts
        assert db.execute("SELECT bool_and(y LIKE x || 'xxx%') FROM r").fetchone() == (True,)
        (counted,) = db.execute(
            "SELECT distinct_inputs, cached + sent FROM ai.usage WHERE this_session"
        ).fetchall()
    assert fake.batches[:2] == [1000, 1000]
    assert len(set(fake.inputs)) == 6000
    assert cache == "off" or len(fake.inputs) == 6000
    assert counted[0] == counted[1]


@pytest.mark.parametrize(
    "setting",
    ["produce_arrow_string_view = true", "arrow_large_buffer_size = true", "threads = 1"],
)
def test_however_duckdb_hands_text_over(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel], setting: str
) -> None:
    db, fake = many
    db.execute(f"SET {setting}")
    rows = db.execute("SELECT x, ai.complete(x), ai.filter(NULLIF(x, 'text 7'), 'q') FROM many")
    for text, answer, kept in rows.fetchall():
        assert (answer, kept) == (text.upper(), None if text == "text 7" else True)
    assert fake.batches == [6000, 5999]


def test_a_result_that_is_fetched_in_part_asks_little_ahead(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel],
) -> None:
    db, fake = many
    for query in (
        "SELECT id, ai.complete(x) FROM many",
        "WITH c AS (SELECT id, ai.complete(x) AS y FROM many) SELECT * FROM c",
        "SELECT id, ai.complete(x) FROM many WHERE ai.filter(x, 'q')",
    ):
        relation = db.sql(query)
        fake.inputs.clear()
        assert len(relation.limit(5).fetchall()) == 5
        assert len(fake.inputs) <= 4 * 2048  # two threads, a chunk each, of two calls at most
    db.execute("SET threads = 1")
    relation = db.sql("SELECT id, ai.complete(x) FROM many")
    fake.inputs.clear()
    fake.batches.clear()
    assert len(relation.fetchall()) == 20000
    assert len(fake.inputs) == len(set(fake.inputs)) == 6000
    assert fake.batches == [2048, 3952]
    fake.batches.clear()
    db.sql("UPDATE many SET x = ai.complete(x)")
    assert fake.batches == [6000]


def test_a_view_that_draws_its_rows_is_read_once(
    many: tuple[sqlllm.Connection, sqlllm.FakeModel],
) -> None:
    db, fake = many
    db.execute("CREATE VIEW few AS FROM many USING SAMPLE 500 ROWS; CREATE VIEW v AS FROM few")
    query = "SELECT x, ai.complete(x) FROM V"
    texts = {x for x, _ in db.execute(query).fetchall()}
    assert len(fake.inputs) == len(texts)
    assert "the view few gives other rows each time" in str(db.explain(query))


def test_a_failed_input_of_a_batch_is_asked_once(both: Both) -> None:
    def fn(task: sqlllm.Task, text: str) -> str:
        if text == "text 7":
            raise sqlllm.ModelError("no answer")
        return text

    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(models={"fake": fake}, model="fake", on_error="null") as db:
        db.execute(f"CREATE TABLE many AS {MANY}")
        query = "SELECT count(*) - count(ai.complete(x)) FROM many"
        assert db.execute(query).fetchone() == (4,)
        assert fake.batches == [6000]
        assert db.execute("SELECT input, message FROM ai.errors").fetchall() == [
            ("'text 7'", "no answer")
        ]
        assert db.execute(query).fetchone() == (4,)
        assert fake.batches == [6000, 1]  # failures are not cached
        with pytest.raises(sqlllm.ModelError, match="no answer"):
            db.execute("SELECT ai.complete(x, on_error := 'fail') FROM many")


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("SELECT id FROM many WHERE ai.filter(x, 'q') LIMIT 3", 4),  # in rounds
        ("SELECT id, ai.filter(y, 'q') FROM asking", 7),  # a view with calls is read twice
    ],
)
def test_an_input_without_a_cache_or_an_answer_is_asked_once(query: str, sent: int) -> None:
    def fn(task: sqlllm.Task, text: str) -> Any:
        if text == "fails":
            raise sqlllm.ModelError("no answer")
        return text == "last" if task.yes_no else text

    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(
        models={"fake": fake}, model="fake", on_error="null", cache="off", progress=False
    ) as db:
        db.execute("""
            CREATE TABLE many AS SELECT i AS id, CASE WHEN i = 999 THEN 'last'
                WHEN i % 3 = 0 THEN 'fails' WHEN i % 3 = 1 THEN 'a' ELSE 'b' END AS x
            FROM range(1000) r(i);
            CREATE VIEW asking AS SELECT id, ai.complete(x) AS y FROM many""")
        assert db._plan(query).fired
        db.execute(query).fetchall()
        assert len(fake.inputs) == sent
        assert db.execute("SELECT input FROM ai.errors").fetchall() == [("'fails'",)]
        counted = db.execute("SELECT sum(distinct_inputs), sum(sent) FROM ai.usage").fetchall()
        assert counted == [(sent, sent)]


def test_elements_of_a_list_are_asked_for_as_they_come(both: Both) -> None:
    data = "(SELECT id, x AS e, [x || '1', 'b'] AS l FROM t WHERE id < 4)"
    for query in (
        f"SELECT id, [ai.complete(e) FOR e IN l] AS c FROM {data} ORDER BY id",
        f"SELECT id, [e FOR e IN l IF ai.filter(e, 'good?')] AS c FROM {data} ORDER BY id",
        f"SELECT id FROM {data} WHERE len([e FOR e IN l IF ai.filter(e, 'good?')]) = 1",
        f"SELECT id FROM {data} WHERE len(list_filter(l, lambda e: ai.filter(e, 'good?'))) = 1",
    ):
        assert both.run(both.on, query) == both.run(both.off, query)
        assert both.on._plan(query).fired == ()
        assert "the elements of a list" in str(both.on.explain(query))


def test_calls_of_several_cases_are_asked_as_duckdb_would(both: Both) -> None:
    good, bug = "ai.filter(x, 'good?')", "ai.filter(x, 'a bug?')"
    for query in (
        f"SELECT id FROM t WHERE (id = 3 AND {good}) OR (k = 2 AND {bug}) ORDER BY id",
        f"SELECT id FROM t WHERE {good} OR {bug} OR ai.filter(x || '2', 'good?') ORDER BY id",
        f"SELECT id FROM t JOIN u USING (k) WHERE ({good} OR {bug}) AND id > 0 ORDER BY id, y",
        f"SELECT id FROM t JOIN u USING (k) WHERE ({good} AND id = 3) OR k = 2 ORDER BY id, y",
        f"SELECT id FROM t WHERE if(x IS NULL, {good} AND {bug}, ai.score(x, 'q') > 0.5)",
        f"SELECT id FROM t WHERE k > 0 AND coalesce({good} IS NOT TRUE, if({bug}, false, true))",
        f"SELECT id, CASE WHEN k = 2 AND {bug} THEN 1 END AS c FROM t WHERE {good} ORDER BY id",
        f"SELECT id FROM t WHERE NOT (id < 3 OR {good} OR k = 1) OR (k = 2 AND {bug}) ORDER BY id",
        "SELECT id FROM t WHERE "
        + " OR ".join(f"(id = {i} AND ai.filter(x || '{i % 3}', 'good?'))" for i in range(40)),
    ):
        rows, names, sent = both.run(both.on, query)
        plain, plain_names, plain_sent = both.run(both.off, query)
        assert (rows, names) == (plain, plain_names)
        assert sent <= plain_sent, query


@pytest.mark.parametrize(
    "query",
    [
        "SELECT k, count(*) FILTER (WHERE ai.filter(x, 'good?')) AS n FROM t GROUP BY k "
        "HAVING count(*) > 1 ORDER BY k",
        "SELECT id FROM t SEMI JOIN u ON t.k = u.k WHERE ai.filter(x, 'good?') ORDER BY id",
        "SELECT id FROM t ANTI JOIN u USING (k) WHERE ai.filter(x, 'good?') ORDER BY id",
        # the conditions of a join hold for none of the rows that a later one adds
        "SELECT id, e.k FROM t JOIN u ON t.k = u.k RIGHT JOIN e ON e.k = id "
        "WHERE ai.filter(coalesce(x, 'good'), 'good?') ORDER BY ALL",
        "SELECT id, e.k FROM t JOIN u ON t.k = u.k FULL JOIN e ON e.k = id "
        "WHERE ai.filter(coalesce(x, 'good'), 'good?') ORDER BY ALL",
    ],
)
def test_filters_and_joins_are_gathered(both: Both, query: str) -> None:
    assert both.on._plan(query).fired == ("gather",)
    rows, names, sent = both.run(both.on, query)
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert (rows, names) == (plain, plain_names)
    assert sent <= plain_sent
    assert both.on.refused == frozenset()


CHAIN = "WITH c AS (SELECT id, k, ai.complete(x) AS y FROM t), d AS ({}) {}"


@pytest.mark.parametrize(
    ("middle", "outer", "gathered"),
    [
        ("SELECT y, count(*) AS n FROM c GROUP BY y", "SELECT n FROM d ORDER BY n", True),
        ("SELECT k, max(y) AS m FROM c GROUP BY k", "SELECT m FROM d ORDER BY m", True),
        ("SELECT k, max(y) AS m FROM c GROUP BY k", "SELECT k FROM d ORDER BY k", False),
        ("SELECT DISTINCT y FROM c", "SELECT count(*) AS n FROM d", True),
        ("SELECT *, y || '!' AS z FROM c", "SELECT id, z FROM d ORDER BY id", True),
        ("SELECT * FROM c", "SELECT id FROM d ORDER BY id", False),
        ("SELECT * EXCLUDE (y), id AS y FROM c", "SELECT y FROM d ORDER BY y", False),
        ("SELECT id AS y, y AS z FROM c", "SELECT y FROM d ORDER BY y", False),
        ("SELECT id, y FROM c", "SELECT id FROM d WHERE y > 'B' ORDER BY id", False),
        ("SELECT id, row_number() OVER w AS r FROM c WINDOW w AS (ORDER BY y)",
         "SELECT id, r FROM d ORDER BY id", True),
    ],
)  # fmt: skip
def test_what_a_chain_of_ctes_uses_is_gathered(
    both: Both, middle: str, outer: str, gathered: bool
) -> None:
    query = CHAIN.format(middle, outer)
    *found, ran = both.planned(query)
    assert tuple(found) == both.run(both.off, query)
    assert ("gather" in ran.fired) is gathered


@pytest.mark.parametrize("joined", ["c JOIN u ON c.id = u.k", "u JOIN c ON c.id = u.k", "c, u"])
def test_what_a_join_leaves_out_is_not_asked_for(both: Both, joined: str) -> None:
    query = CHAIN.format(
        "SELECT * FROM u", f"SELECT id, c.y FROM {joined} WHERE id = u.k ORDER BY 1"
    )
    assert both.run(both.on, query) == both.run(both.off, query)
    assert len(both.fake.inputs) == 2


def test_a_column_that_nobody_reads_is_not_asked_for_whatever_its_name(both: Both) -> None:
    query = "SELECT id FROM (SELECT id, ai.complete(x) AS x FROM t) ORDER BY id"
    assert both.run(both.on, query) == both.run(both.off, query)
    assert both.fake.inputs == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT k, ai.complete(x) AS c FROM (SELECT id, k, x FROM t ORDER BY id LIMIT 3000)"
        " AS s(k, id, x) ORDER BY k",
        "SELECT id FROM (SELECT k, ai.complete(x) AS id FROM t) AS s(id, y) ORDER BY id",
        "WITH c(id, y) AS (SELECT k, ai.complete(x) AS id FROM t) SELECT id FROM c ORDER BY id",
        "WITH c(id, y) AS ((SELECT k, ai.complete(x) AS id FROM t)) SELECT id FROM c ORDER BY id",
    ],
)
def test_columns_have_the_names_that_a_list_gives_them(both: Both, query: str) -> None:
    assert both.run(both.on, query) == both.run(both.off, query)


def test_large_statements_take_no_time(both: Both) -> None:
    chain = ", ".join(f"c{i} AS (SELECT * FROM {f'c{i - 1}' if i else 't'})" for i in range(150))
    asking = ", ".join(f"a{i} AS (SELECT ai.complete(x || '{i}') AS y FROM t)" for i in range(200))
    calls = ", ".join(f"ai.complete(x || '{i}') AS c{i}" for i in range(300))
    cases = " ".join(f"WHEN id = {i} THEN ai.complete(x || '{i}')" for i in range(200))
    for query in (
        f"WITH {chain} SELECT id, ai.complete(x) AS y FROM c149",
        f"WITH {asking} SELECT y FROM a0 UNION ALL SELECT y FROM a199",
        f"SELECT {calls} FROM t",
        f"SELECT CASE {cases} END AS c FROM t",
        f"SELECT {'ai.complete(' * 20}x{')' * 20} AS c FROM t",
    ):
        start = time.process_time()
        assert both.on._plan(query).fired == ("gather",)
        assert time.process_time() - start < 5


def test_deep_statements_run(both: Both) -> None:
    terms = " AND ".join(f"id <> {i + 100}" for i in range(1100))
    for query, fired in (
        (f"SELECT id FROM t WHERE ai.filter(x, 'good?') AND {terms} ORDER BY id", ("gather",)),
        (f"SELECT ai.complete({'(' * 80}x{')' * 80}) AS y FROM t WHERE id = 1", ()),
    ):
        made = both.on._plan(query)
        assert made.fired == fired
        assert fired or made.notes == ("left as it stands: it is nested too deeply",)
        assert both.run(both.on, query) == both.run(both.off, query)
        assert both.on.explain(query).original == query
