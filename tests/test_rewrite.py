from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import sqlllm
from sqlllm.rewrite import RULES, plan

FIXTURES = Path(__file__).parent / "fixtures" / "rewrite"
TABLES = """
CREATE TABLE t AS SELECT * FROM (VALUES
    (1, 0, 'bad bug'), (2, 1, 'bad'), (3, 1, 'good bug'), (4, 2, NULL), (5, 2, 'good bug'),
    (6, NULL, 'good')) v(id, k, x);
CREATE TABLE u AS SELECT * FROM (VALUES (1, 'good'), (1, 'bad'), (2, 'x'), (7, 'q')) v(k, y);
"""


def answer(task: sqlllm.Task, text: str) -> Any:
    if task.kind == "complete":
        return text.upper()
    if task.yes_no:
        return ("bug" if "bug" in task.instruction else "good") in text
    return next((label for label in task.labels if label in text), task.labels[0])


class Both:
    """The same tables with and without rewriting, and one model that counts."""

    def __init__(self, tables: str) -> None:
        self.fake = sqlllm.FakeModel(answer)
        models = {"fake": self.fake}
        self.on = sqlllm.connect(models=models, model="fake")
        self.off = sqlllm.connect(models=models, model="fake", rewrite=["names"])
        self.alone = {r: sqlllm.connect(models=models, model="fake", rewrite=[r]) for r in RULES}
        for db in (self.on, self.off, *self.alone.values()):
            db.execute(tables)

    def run(self, db: sqlllm.Connection, query: str) -> tuple[list[Any], list[str], int]:
        """Rows, column names, and how many inputs were sent."""
        self.fake.fingerprint = uuid.uuid4().hex  # nothing is cached
        self.fake.inputs.clear()
        db.execute(query)
        names = [column[0] for column in db.description]
        return db.fetchall(), names, len(self.fake.inputs)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    pair = Both(TABLES)
    yield pair
    pair.on.close()
    pair.off.close()


def cases() -> Iterator[Any]:
    for path in sorted(FIXTURES.glob("*.sql")):
        for i, block in enumerate(path.read_text(encoding="utf-8").strip().split("\n\n")):
            reason, calls, query, expected = block.split("\n")
            yield pytest.param(
                path.stem,
                query.rstrip(";"),
                expected.rstrip(";"),
                int(calls.removeprefix("-- calls: ")),
                id=f"{path.stem}-{i}: {reason.removeprefix('-- ')}",
            )


def test_each_rule_has_a_fixture() -> None:
    assert {path.stem for path in FIXTURES.glob("*.sql")} == set(RULES) - {"names"}


@pytest.mark.parametrize(("rule", "query", "expected", "calls"), list(cases()))
def test_fixture(both: Both, rule: str, query: str, expected: str, calls: int) -> None:
    alone = both.alone[rule]
    made = alone._plan(query)
    assert made.sql == expected
    assert made.fired == ((rule,) if query != expected else ())
    rows, names, sent = both.run(alone, query)
    if "__ai_w0" in expected and duckdb.__version__ >= "2":
        with pytest.raises(duckdb.BinderException, match="cannot be volatile"):
            both.run(both.off, query)
        assert sent == calls
        return
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert rows == plain
    assert names == plain_names
    assert sent == calls <= plain_sent
    rows, names, sent = both.run(both.on, query)
    assert rows == plain
    assert names == plain_names
    assert sent <= calls


def test_rules_are_switched_by_name(both: Both) -> None:
    query = "SELECT ai_complete(x) FROM t ORDER BY id LIMIT 1"
    functions = {"complete": ("prompt",)}
    assert plan(query, functions).fired == ("names", "after_limit")
    assert plan(query, functions, ["after_limit"]).fired == ()
    with pytest.raises(sqlllm.ConfigError, match="did you mean `early_stop`"):
        sqlllm.connect(rewrite=["early_stopp"])
    with sqlllm.connect(rewrite=False) as db:
        assert db._plan(query).sql == query


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("PREPARE p AS SELECT ai.complete(x) FROM t LIMIT 1", "PREPARE statements"),
        (
            "CREATE TEMP VIEW v AS SELECT ai.complete(x) FROM t LIMIT 1",
            "CREATE VIEW keeps the text",
        ),
        ("SELECT ai.complete(x) FROM t WHERE (LIMIT 1", "can't parse"),
        (
            "SELECT upper(string_agg(x, ai.complete('x'))) FROM nowhere ORDER BY 1",
            "a column without a name would be renamed",
        ),
    ],
)
def test_a_statement_that_is_left_says_why(both: Both, query: str, why: str) -> None:
    made = both.on._plan(query)
    assert made.sql == query
    assert made.fired == ()
    assert why in str(made)


def test_parameters(both: Both) -> None:
    rows = [("GOOD BUG",)]
    query = "SELECT ai.complete(x) FROM t WHERE id = ? LIMIT 1"
    assert both.on._plan(query).fired == ("after_limit",)
    assert both.on.execute(query, [3]).fetchall() == rows
    query = "SELECT ai.complete(x) FROM t WHERE id = $1 LIMIT 1"
    assert both.on._plan(query).fired == ("after_limit",)
    assert both.on.execute(query, [3]).fetchall() == rows
    query = "SELECT ai.complete(x) || ? FROM t WHERE id IN (?, $n)"
    with pytest.raises(duckdb.Error):  # mixed
        both.on.execute(query, ["!", 3, 3])
    query = "SELECT ai.complete(x) || $a FROM t WHERE id = $n"
    assert both.on.execute(query, {"a": "!", "n": 3}).fetchall() == [("GOOD BUG!",)]
    assert both.on.sql(query, params={"a": "!", "n": 3}).fetchall() == [("GOOD BUG!",)]


def test_recursive_ctes_are_left_alone(both: Both) -> None:
    query = """
        WITH RECURSIVE r AS (
            SELECT 1 AS i, ai.complete('x') AS y
            UNION ALL SELECT i + 1, ai.complete(y || i) FROM r WHERE i < 3)
        SELECT i, y, ai.complete(y || '!') AS z FROM r ORDER BY i LIMIT 2"""
    made = both.on._plan(query)
    assert made.fired == ("after_limit",)
    rows, names, sent = both.run(both.on, query)
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert (rows, names) == (plain, plain_names)
    assert sent < plain_sent


@pytest.mark.parametrize(
    "query",
    [
        "SELECT *, ai.filter(x, 'good?') FROM t JOIN u ON t.k = u.k ORDER BY id, y LIMIT 2",
        "SELECT y, upper(ai.complete(x)), 1 FROM t JOIN u USING (k) ORDER BY k, id, y LIMIT 2",
        "SELECT u.* FROM t JOIN u ON id = length(y) - 2 WHERE ai.filter(x, 'good?') LIMIT 1",
        "SELECT id, y FROM t JOIN u USING (k) WHERE ai.filter(x, 'good?') ORDER BY id, y LIMIT 2",
        "WITH c AS (SELECT k AS l, y FROM u) SELECT ai.complete(y) FROM t JOIN c ON k = l"
        " ORDER BY id, y LIMIT 1",
        "SELECT ai.complete(y) AS c FROM t JOIN (SELECT k AS l, y FROM u) AS s ON k = l"
        " ORDER BY id, y LIMIT 1",
    ],
)
def test_columns_are_looked_up(both: Both, query: str) -> None:
    made = both.on._plan(query)
    assert set(made.fired) & {"after_limit", "early_stop"}
    rows, names, sent = both.run(both.on, query)
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert (rows, names) == (plain, plain_names)
    assert sent < plain_sent or sent <= 2


def test_columns_of_files_and_dataframes(both: Both, tmp_path: Path) -> None:
    import polars

    path = tmp_path / "u.parquet"
    both.on.execute(f"COPY u TO '{path}'")
    frame = polars.DataFrame({"id": [1, 2, 3], "w": ["a", "b", "c"]})
    query = f"SELECT w, ai.complete(y) FROM frame JOIN '{path}' ON id = k ORDER BY id, y LIMIT 2"
    assert both.on._plan(query).fired == ("after_limit",)
    assert both.on.execute(query).fetchall() == [("a", "BAD"), ("a", "GOOD")]
    assert both.on.sql(query).fetchall() == [("a", "BAD"), ("a", "GOOD")]
    assert len(frame) == 3


def test_names_of_columns_stay(both: Both) -> None:
    expressions = [
        "string_agg(ai.complete(x), '-' ORDER BY id)", "max(ai.score(x, 'good?'))::INT",
        "count(*) FILTER (WHERE ai.filter(x, 'good?'))", "list(ai.complete(x) ORDER BY id)[1:2]",
        "if(max(ai.complete(x)) != 'A', 1, 2)", "ifnull(min(ai.complete(x)), 'q')",
        "{'a': max(ai.complete(x))}", "strlen(max(ai.complete(x)))", "1 + 1", "current_date",
    ]  # fmt: skip
    query = f"SELECT {', '.join(expressions)} FROM t"
    assert both.on._plan(query).fired == ("gather",)
    assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]


def test_an_error_while_it_runs_shows_no_text_that_the_user_did_not_write(both: Both) -> None:
    query = "SELECT id, ai.complete(x) FROM t WHERE x::INT > 1 ORDER BY id LIMIT 1"
    with pytest.raises(duckdb.ConversionException, match="Could not convert") as error:
        both.on.execute(query)
    assert "LINE" not in str(error.value)


def test_a_fault_in_a_rule_leaves_the_statement(
    both: Both, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("sqlllm.rewrite.statement.after_limit", fault)
    query = "SELECT id AS expected, ai.complete(x) AS y FROM t ORDER BY id LIMIT 1"
    assert both.on.execute(query).fetchall() == [(1, "BAD BUG")]
    assert "a rule failed" in caplog.text
    assert "a rule failed (ZeroDivisionError)" in str(both.on._plan(query))


def test_calls_order_windows(both: Both) -> None:
    score = "ai.score(x, 'good?')"
    for query, rows, calls in (
        (
            f"SELECT id, rank() OVER (ORDER BY {score} DESC) AS r FROM t WHERE id < 4 ORDER BY id",
            [(1, 2), (2, 2), (3, 1)],
            3,
        ),
        (
            "SELECT * FROM t QUALIFY "
            f"row_number() OVER (PARTITION BY k ORDER BY {score} DESC, id) = 1 ORDER BY id",
            [(1, 0, "bad bug"), (3, 1, "good bug"), (5, 2, "good bug"), (6, None, "good")],
            4,
        ),
        (
            "SELECT count(*) OVER (PARTITION BY ai.classify(x, ['bug', 'bad'])) FROM t JOIN u "
            f"USING (k) WHERE {score} > 0.5 ORDER BY {score} DESC",
            [(3,), (3,), (3,)],
            3,
        ),
    ):
        assert "windows" in both.on._plan(query).fired
        found, _, sent = both.run(both.on, query)
        assert (sorted(found), sent <= calls) == (sorted(rows), True), query


def test_explain_statements(both: Both) -> None:
    both.fake.inputs.clear()
    text = both.on.execute("EXPLAIN SELECT id, ai.complete(x) FROM t").fetchall()[0][1]
    assert "__ai_1" in text
    assert both.fake.inputs == []


def test_scripts_and_the_statements_that_write(both: Both, tmp_path: Path) -> None:
    target = tmp_path / "x.csv"
    both.on.execute(
        "CREATE TABLE w AS SELECT id, ai.complete(x) AS y FROM t ORDER BY id LIMIT 1;"
        "INSERT INTO w SELECT id, ai.complete(x) FROM t WHERE ai.filter(x, 'good?')"
        " ORDER BY id LIMIT 1;"
        f"COPY (SELECT id, ai.complete(x) AS y FROM t ORDER BY id LIMIT 1) TO '{target}'"
    )
    assert both.on.execute("FROM w ORDER BY id").fetchall() == [(1, "BAD BUG"), (3, "GOOD BUG")]
    assert target.read_text(encoding="utf-8") == "id,y\n1,BAD BUG\n"
    both.on.execute("DROP TABLE w")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nope, ai.complete(x) FROM t ORDER BY id LIMIT 1",
        "SELECT ai.complete(x) FROM nowhere LIMIT 1",
        "SELECT ai.complete(x) FROM t WHERE ai.filter(x, 'good?') AND id LIKE LIMIT 1",
        "SELECT ai.complete(x FROM t LIMIT 1",
        "SELECT ai.complete(x) FROM t LIMIT 1 LIMIT 2",
    ],
)
def test_duckdbs_own_error_with_the_users_text(both: Both, query: str) -> None:
    with pytest.raises(duckdb.Error) as ours:
        both.on.execute(query)
    with pytest.raises(duckdb.Error) as theirs:
        both.off.execute(query)
    assert str(ours.value) == str(theirs.value)


def generated(draw: random.Random) -> tuple[str, str, bool]:
    """A query, the same without LIMIT, and whether its order is total."""
    joined = draw.random() < 0.4
    a = "a." if joined else draw.choice(["", "t."])
    text = draw.choice([f"{a}x", f"{a}x || 'q'", *(["b.y", "a.x || b.y"] if joined else [])])
    kind = draw.choice(["JOIN", "LEFT JOIN"]) if joined else ""
    call = f"ai.filter({text}, '{draw.choice(['good?', 'a bug?'])}')"
    other = f"ai.filter({a}x, '{draw.choice(['good?', 'a bug?'])}')"
    conditions = draw.sample(
        [
            f"{a}k > {draw.randint(-1, 2)}",
            f"{a}id % 2 = {draw.randint(0, 1)}",
            call,
            f"NOT {other}",
            other,
            f"({a}k IS NULL OR {call})",
            f"CASE WHEN {a}k > 1 THEN {other} ELSE true END",
            f"{a}x IN (SELECT x FROM t WHERE k = 1)",
        ],
        draw.randint(0, 3),
    )
    on = f"a.k = b.k{' AND ' + call if draw.random() < 0.3 else ''}"
    from_ = f"t AS a {kind} u AS b ON {on}" if joined else "t"
    columns = draw.sample(
        [
            f"{a}id AS i",
            f"{a}k + 1 AS k1",
            f"ai.complete({text}) AS c",
            f"coalesce({a}k::VARCHAR, ai.complete({a}x)) AS g",
            f"CASE WHEN {a}k = 1 THEN ai.classify({a}x, ['bug', 'bad']) END AS w",
            f"row_number() OVER (ORDER BY {a}id, {'b.y' if joined else 'x'}) AS n",
            *([] if joined else ["*"]),
        ],
        draw.randint(1, 3),
    )
    select = f"SELECT {draw.choice(['', '', '', 'DISTINCT '])}{', '.join(columns)} FROM {from_}"
    if draw.random() < 0.1:
        select = f"SELECT {a}k AS k, count(*) AS n, min(ai.complete({a}x)) AS m FROM {from_}"
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    group = f" GROUP BY {a}k" if "count(*) AS n" in select else ""
    total = not group and "DISTINCT" not in select and draw.random() < 0.6
    keys = f"{a}id DESC, b.y" if joined else f"{a}id"
    order = f" ORDER BY {keys}" if total else draw.choice(["", "" if group else f" ORDER BY {a}k"])
    if "DISTINCT" in select:
        order = ""
    limit = f" LIMIT {draw.randint(0, 4)}" if draw.random() < 0.7 else ""
    limit += f" OFFSET {draw.randint(0, 2)}" if limit and draw.random() < 0.3 else ""
    body, bare = f"{select}{where}{group}{order}{limit}", f"{select}{where}{group}{order}"
    if draw.random() < 0.15:
        return f"WITH c AS ({body}) SELECT * FROM c", f"WITH c AS ({bare}) SELECT * FROM c", total
    return body, bare, total


def generated_shape(draw: random.Random) -> str:
    """A query whose rows don't depend on which of several orders DuckDB chooses."""
    text = draw.choice(["x", "x || 'q'", "upper(x)", "coalesce(x, 'bug')"])
    call = draw.choice(
        [f"ai.complete({text})", f"ai.classify({text}, ['bug', 'bad'])",
         f"ai.complete(ai.complete({text}))", f"coalesce(k::VARCHAR, ai.complete({text}))",
         f"CASE WHEN k > 0 THEN ai.complete({text}) WHEN id > 3 THEN ai.classify(x, ['q']) END"]
    )  # fmt: skip
    test = draw.choice(
        [f"ai.filter({text}, 'good?')", f"ai.score({text}, 'a bug?') > 0.5",
         f"(k > 0 OR ai.filter({text}, 'good?'))", f"NOT ai.filter({text}, 'a bug?')"]
    )  # fmt: skip
    cheap = draw.choice(["k > 0", "id % 2 = 1", "true", "x IS NOT NULL", "k IN (SELECT k FROM u)"])
    where = draw.choice(["", f"WHERE {cheap}", f"WHERE {test}", f"WHERE {cheap} AND {test}"])
    limit = draw.choice(["", "LIMIT 2", "LIMIT 3 OFFSET 1"])
    return draw.choice(
        [
            f"SELECT {call} AS c, count(*) AS n FROM t {where} GROUP BY c ORDER BY c",
            f"SELECT {call} AS c, count(*) AS n FROM t {where} GROUP BY 1 HAVING n > 1 ORDER BY c",
            f"SELECT k, ai.complete(string_agg(x, ' ' ORDER BY id)) AS c FROM t {where} "
            "GROUP BY k ORDER BY k",
            f"SELECT k, max({call}) AS c FROM t {where} GROUP BY ALL ORDER BY k",
            f"SELECT k, count(*) AS n FROM t {where} GROUP BY k "
            f"HAVING {draw.choice(['true', 'count(*) > 1'])} AND ai.filter(max(x), 'q') ORDER BY k",
            f"SELECT k, max({call}) FILTER (WHERE {cheap.replace('IN (SELECT k FROM u)', '> 1')}) "
            f"AS c FROM t {where} GROUP BY k ORDER BY k",
            f"SELECT id, {call} AS c FROM t {where} "
            "QUALIFY row_number() OVER (PARTITION BY k ORDER BY id) = 1 ORDER BY id",
            f"SELECT id, count({call}) OVER (PARTITION BY k) AS c FROM t {where} ORDER BY id",
            f"SELECT {call} AS c FROM t {where} UNION SELECT ai.complete(y) FROM u ORDER BY 1",
            f"(SELECT {call} AS c FROM t {where}) EXCEPT SELECT ai.complete(y) FROM u ORDER BY 1",
            f"SELECT ai.complete(y) AS c FROM u UNION ALL SELECT {call} FROM t {where} ORDER BY c",
            f"WITH c AS (SELECT id, {call} AS y FROM t {where}) "
            f"SELECT * FROM c ORDER BY id {limit}",
            f"WITH c AS (SELECT id, k, {call} AS y FROM t {where}) "
            "SELECT id, ai.complete(y || '!') AS z FROM c ORDER BY id",
            f"WITH c AS (SELECT id, k, {call} AS y FROM t {where}) SELECT y FROM c "
            "WHERE id > 2 ORDER BY id",
            f"WITH c AS (SELECT id, k, {call} AS y FROM t {where}) SELECT count(*) AS n FROM c",
            f"WITH c AS (SELECT id, k, {call} AS y FROM t) SELECT a.id, b.y FROM c AS a "
            "JOIN c AS b ON a.id = b.k ORDER BY ALL",
            f"SELECT y FROM (SELECT id, {call} AS y FROM t {where}) WHERE y <> 'BAD' ORDER BY id",
            f"SELECT DISTINCT {call} AS c FROM t {where} ORDER BY c {limit}",
            f"SELECT DISTINCT ON (k) k, {call} AS c FROM t {where} ORDER BY k, id",
            f"SELECT id, upper(x) AS y, ai.complete(y) AS z FROM t {where} ORDER BY id {limit}",
            f"SELECT id, (SELECT max(ai.complete(y)) FROM u WHERE u.k = t.k) AS m FROM t {where} "
            "ORDER BY id",
            f"SELECT id FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.k = t.k AND "
            f"ai.filter(y, 'good?')) AND {cheap} ORDER BY id",
            f"SELECT id, {call} AS c FROM t {where} ORDER BY ai.score(x, 'good?') DESC, id {limit}",
            f"SELECT *, {call} AS c, ai.score(x, 'good?') AS s FROM t {where} "
            f"ORDER BY s DESC, id {limit}",
            f"SELECT {call} AS c FROM t JOIN u USING (k) {where} "
            f"ORDER BY round(ai.score(x, 'a bug?')), id, y {limit}",
            f"SELECT id, {call} AS c FROM t JOIN u USING (k) {where} ORDER BY id, y {limit}",
            f"SELECT {call} IS NULL AND k > 0 AS c, {call} IS NULL OR k > 1 AS d FROM t {where} "
            "ORDER BY id",
            f"SELECT list({call} ORDER BY id) AS l FROM t {where}",
            f"SELECT grouping(k) AS g, k, max({call}) AS c FROM t {where} GROUP BY ROLLUP (k) "
            "ORDER BY g, k",
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_generated_shapes_give_the_same_rows_with_fewer_calls(both: Both, seed: int) -> None:
    draw = random.Random(100 + seed)
    fired: Counter[str] = Counter()
    for _ in range(250):
        query = generated_shape(draw)
        made = both.on._plan(query)
        fired.update(made.fired)
        rows, names, sent = both.run(both.on, query)
        plain, plain_names, plain_sent = both.run(both.off, query)
        assert names == plain_names, query
        assert rows == plain, query
        assert sent <= plain_sent, query
        for statement in made.statements:  # what was made of it is what ran
            both.on._con.execute(statement.sql)
    assert fired["gather"] > 100


@pytest.mark.parametrize("seed", range(10))
def test_generated_queries_give_the_same_rows_with_fewer_calls(both: Both, seed: int) -> None:
    draw = random.Random(seed)
    fired: Counter[str] = Counter()
    for _ in range(300):
        query, bare, total = generated(draw)
        fired.update(both.on._plan(query).fired)
        rows, names, sent = both.run(both.on, query)
        plain, plain_names, plain_sent = both.run(both.off, query)
        assert names == plain_names, query
        assert len(rows) == len(plain), query
        if total or query == bare:
            assert Counter(rows) == Counter(plain), query
            assert not total or rows == plain, query
        else:
            every, _, _ = both.run(both.off, bare)
            if "OVER" not in query:
                assert not Counter(rows) - Counter(every), query
        assert sent <= plain_sent, query
    assert fired["after_limit"] > 10
    assert fired["early_stop"] > 10


def test_malformed_sql_fails_as_in_duckdb(both: Both) -> None:
    draw = random.Random(3)
    failed = 0
    for _ in range(400):
        words = generated(draw)[0].split(" ")
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(words))
            change = draw.choice(["drop", "double", "swap", "junk"])
            if change == "drop":
                del words[at]
            elif change == "double":
                words.insert(at, words[at])
            elif change == "swap":
                words[at], words[-1] = words[-1], words[at]
            else:
                words[at] = draw.choice(["(", ")", "'", "nope", "--", ";", "💥", "NULL", "$$"])
            words = words or ["SELECT"]
        query = " ".join(words)
        outcomes = []
        for db in (both.on, both.off):
            try:
                both.run(db, query)
                outcomes.append("ran")
            except (duckdb.Error, sqlllm.SqlllmError) as error:
                outcomes.append(f"{type(error).__name__}: {error}")
        assert outcomes[0] == outcomes[1], query
        failed += outcomes[0] != "ran"
    assert failed > 200


def test_a_script_that_fails_runs_no_statement_twice(both: Both) -> None:
    both.on.execute("CREATE OR REPLACE TABLE w (i INTEGER)")
    first = "INSERT INTO w VALUES (1); SELECT ai.complete(x) FROM t ORDER BY id LIMIT 1;"
    with pytest.raises(duckdb.BinderException, match="nope"):
        both.on.execute(f"{first} SELECT ai.complete(nope) FROM t ORDER BY id LIMIT 1")
    assert both.on.execute("SELECT count(*) FROM w").fetchone() == (1,)
    with pytest.raises(duckdb.ParserException):
        both.on.execute(f"{first} SELECT FROM WHERE")
    assert both.on.execute("SELECT count(*) FROM w").fetchone() == (1,)  # nothing was run
    assert both.on.execute(f"{first} -- done").fetchall() == [("BAD BUG",)]
    assert both.on.execute("SELECT count(*) FROM w").fetchone() == (2,)
    both.on.execute("DROP TABLE w")


def test_a_block_that_may_mean_a_row_outside_is_left(both: Both) -> None:
    for query in (
        "SELECT id, (SELECT min(c) FROM (SELECT ai.complete(y) AS c FROM u WHERE u.k = t.k"
        " ORDER BY y LIMIT 1)) AS m FROM t ORDER BY id",
        "SELECT t.id, s.y FROM t, (SELECT y FROM u WHERE u.k = t.k AND ai.filter(y, 'good?')"
        " ORDER BY y LIMIT 1) AS s ORDER BY t.id",
    ):
        assert both.on._plan(query).fired == ()
        assert both.run(both.on, query) == both.run(both.off, query)


def test_executemany(both: Both) -> None:
    both.on.execute("CREATE OR REPLACE TABLE w (x VARCHAR)")
    both.on.executemany("INSERT INTO w SELECT ai_complete($1)", [["a"], ["b"]])
    assert both.on.execute("FROM w ORDER BY x").fetchall() == [("A",), ("B",)]
    both.on.execute("DROP TABLE w")


MANY = "SELECT i AS id, 'text ' || (i % 6000) AS x FROM range(20000) r(i)"


@pytest.fixture
def many() -> Iterator[tuple[sqlllm.Connection, sqlllm.FakeModel]]:
    fake = sqlllm.FakeModel(lambda task, text: True if task.yes_no else text.upper())
    with sqlllm.connect(models={"fake": fake}, model="fake", cache_bytes=0) as db:
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
        ("SELECT count(*) FROM many WHERE ai.filter(x, 'q') AND id < 4000", [4000]),
        ("CREATE TEMP TABLE w AS SELECT id, ai.complete(x) AS y FROM many", [6000]),
        ("UPDATE many SET x = ai.complete(x) WHERE id < 3000", [3000]),
        ("DELETE FROM many WHERE ai.filter(x, 'q') AND id < 3000", [3000]),
        ("INSERT INTO many SELECT id, ai.complete(x) FROM many", [6000]),
        (
            "MERGE INTO many USING (SELECT id, ai.complete(x) AS y FROM many WHERE id < 3000) AS s "
            "ON many.id = s.id WHEN MATCHED THEN UPDATE SET x = s.y",
            [3000],
        ),
        ("COPY (SELECT ai.complete(x) FROM many) TO '/dev/null' (FORMAT csv)", [6000]),
        ("SELECT id, ai.complete(x) FROM many ORDER BY id LIMIT 5000", [5000]),
        ("SELECT ai.complete($1 || x) FROM many WHERE id < $2", [3000]),
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
    relation = db.sql("SELECT id, ai.complete(x) FROM many")
    fake.inputs.clear()
    assert len(relation.fetchall()) == 20000
    assert len(fake.inputs) == len(set(fake.inputs)) == 6000
    fake.batches.clear()
    db.sql("UPDATE many SET x = ai.complete(x)")
    assert fake.batches == [6000]


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
