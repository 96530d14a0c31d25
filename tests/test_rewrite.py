from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from both import Both

import sqlllm
from sqlllm.rewrite import RULES, Statement, plan

FIXTURES = Path(__file__).parent / "fixtures" / "rewrite"


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
    if rule == "aggregates" and " OVER " in query and duckdb.__version__ < "2":
        pytest.skip("DuckDB 1.4 has no windows in macros")
    alone = both.alone[rule]
    made = alone._plan(query)
    assert made.sql == expected
    assert made.fired == ((rule,) if query != expected else ())
    rows, names, sent = both.run(alone, query)
    ordered = "__ai_w0" in expected and duckdb.__version__ >= "2"
    if ordered or (rule == "aliases" and query != expected):
        with pytest.raises(duckdb.BinderException, match=r"cannot be volatile|has side effects"):
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
    functions = {"complete": {"prompt": False}}
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
            "SELECT upper(ai.complete(x::TEXT)) FROM nowhere",
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


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("SELECT id, ai.complete(x) AS c FROM t WHERE id = ?2 AND k >= ?1 LIMIT 1", [0, 3]),
        ("SELECT id, ai.complete(x) AS c FROM t WHERE k >= $1 AND id = ? LIMIT 1", [0, 3]),
        ("SELECT id, ai.complete(x) AS c FROM t WHERE id = ?::INTEGER LIMIT 1", [3]),
    ],
)
def test_parameters_have_the_numbers_that_duckdb_gives_them(
    both: Both, query: str, given: list[int]
) -> None:
    assert both.on._plan(query, given).fired == ("after_limit",)
    assert both.on.execute(query, given).fetchall() == [(3, "GOOD BUG")]
    assert both.off.execute(query, given).fetchall() == [(3, "GOOD BUG")]


def test_a_name_in_quotes_is_the_same_name(both: Both) -> None:
    for call in ("""ai."complete"(x)""", """"ai"."complete"(x)""", """AI . complete(x)"""):
        query = f"SELECT {call} AS c FROM t ORDER BY id LIMIT 2"
        assert both.run(both.on, query) == ([("BAD BUG",), ("BAD",)], ["c"], 2)
    query = """SELECT k, "ai"."agg"(DISTINCT x, 'q') AS a FROM t GROUP BY k ORDER BY k LIMIT 1"""
    assert both.run(both.on, query)[1] == ["k", "a"]
    with pytest.raises(sqlllm.UnknownArgument, match="without a name"):
        both.on.execute("""SELECT ai."complete"('fake', 'x')""")


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
        "WITH c AS (SELECT id, k, ai.complete(x) AS z FROM t) SELECT ai.complete(y) AS c"
        " FROM c JOIN u USING (k) ORDER BY id, y LIMIT 1",
        "SELECT -id AS id, ai.complete(y) AS c FROM t JOIN u USING (k) ORDER BY id, y LIMIT 1",
        "SELECT -k AS k FROM t JOIN u USING (k) WHERE NOT ai.filter(y, 'bug?') ORDER BY k LIMIT 1",
    ],
)
def test_columns_are_looked_up(both: Both, query: str) -> None:
    made = both.on._plan(query)
    assert set(made.fired) & {"after_limit", "early_stop"}
    rows, names, sent = both.run(both.on, query)
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert (rows, names) == (plain, plain_names)
    assert sent < plain_sent or sent <= 2


@pytest.mark.parametrize(
    "query",
    [
        # the name goes before the column of another table that is called so
        "SELECT -id AS y, ai.complete(x) AS c FROM t JOIN u USING (k) ORDER BY y LIMIT 2",
        "SELECT y AS k, ai.complete(x) AS c FROM t JOIN u USING (k) ORDER BY k, id LIMIT 3",
        "SELECT id, upper(y) AS x FROM t JOIN u USING (k) WHERE ai.filter(x, 'good?') "
        "ORDER BY x DESC LIMIT 1",
        "SELECT -id AS y, ai.complete(x) AS c FROM t JOIN u USING (k) ORDER BY y || '', id LIMIT 3",
        "SELECT id + 1 AS n, ai.complete(x) AS c FROM t JOIN u USING (k) WHERE n > 2 "
        "ORDER BY n, y LIMIT 2",
        "SELECT [y || '!' FOR y IN ['a']] AS l, ai.complete(x) AS c FROM t JOIN u USING (k) "
        "ORDER BY id LIMIT 1",
    ],
)
def test_what_the_select_list_names_is_no_column(both: Both, query: str) -> None:
    assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]


@pytest.mark.parametrize("key", ["r", "1"])
def test_rows_are_sorted_by_the_numbers_drawn_for_them(both: Both, key: str) -> None:
    for tables in ("t", "t JOIN u USING (k)"):
        query = f"SELECT random() AS r, ai.complete(x) AS c FROM {tables} ORDER BY {key}"
        drawn = both.on.execute(f"{query} LIMIT 4").fetchall()
        assert drawn == sorted(drawn), tables


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


@pytest.mark.parametrize("text", ["format('{}: {}', id, x)", "concat_ws(' ', id, x)", "x.upper()"])
def test_functions_of_a_row_run_after_limit(both: Both, text: str) -> None:
    query = f"SELECT id, ai.complete({text}) AS y FROM t ORDER BY id LIMIT 1"
    assert both.on._plan(query).fired == (() if "." in text.partition("(")[0] else ("after_limit",))
    assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]
    both.on.execute("CREATE TEMP MACRO whole(a) AS max(a)")
    query = "SELECT nextval('s') AS n, whole(id), ai.complete(max(x)) FROM t LIMIT 1"
    assert both.on._plan(query).fired == ()
    both.on.execute("DROP MACRO whole")


def test_a_percentage_is_no_number_of_rows(both: Both) -> None:
    for query in (
        "SELECT id FROM t WHERE ai.filter(x, 'good?') ORDER BY id LIMIT 50%",
        "SELECT id, ai.complete(x) AS y FROM t ORDER BY id LIMIT 50 PERCENT",
    ):
        assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]


def test_a_result_without_rows_asks_nobody(both: Both) -> None:
    """As tools ask for the names and types of columns."""
    for query in (
        "WITH c AS (SELECT id, ai.complete(x) AS y FROM t) "
        "SELECT id FROM c WHERE ai.filter(y, 'good?') ORDER BY id LIMIT 0",
        "SELECT id, ai.complete(x) AS y FROM t WHERE ai.filter(x, 'good?') ORDER BY y LIMIT 0",
        "SELECT * FROM (SELECT id, ai.complete(x) AS y FROM t ORDER BY id) LIMIT 0",
    ):
        assert both.run(both.on, query) == ([], both.run(both.off, query)[1], 0)


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


def test_a_call_that_is_a_key_keeps_its_name(both: Both) -> None:
    query = "SELECT ai.score(x, 'good?'), ai.complete(x) FROM t ORDER BY 1 DESC, id LIMIT 1"
    assert both.on._plan(query).fired[:1] == ("after_limit",)
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
        (
            f"SELECT id, row_number() OVER (PARTITION BY k ORDER BY {score} DESC, id, y) AS r "
            "FROM t JOIN u USING (k) QUALIFY r = 1 ORDER BY r, id",
            [(3, 1), (5, 1)],
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


@pytest.mark.parametrize(
    ("before", "first", "rows"),
    [
        ("t (x VARCHAR)", "CREATE OR REPLACE TABLE t AS SELECT 'a' AS x, 'no' AS c", []),
        (
            "t (x VARCHAR, c VARCHAR)",
            "CREATE OR REPLACE TABLE t AS SELECT 'a' AS x",
            [("bug",)],
        ),
        ("u (x VARCHAR)", "CREATE TABLE t AS SELECT 'a' AS x", [("bug",)]),
        (
            "t AS SELECT 'a' AS x",
            "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 'a' AS x, 'no' AS c; USE s",
            [],
        ),
    ],
)
def test_a_statement_is_planned_with_what_those_before_it_have_done(
    db: sqlllm.Connection, before: str, first: str, rows: list[tuple[str]]
) -> None:
    db.execute(f"CREATE TABLE {before}")
    script = f"{first}; SELECT ai.classify(x, ['bug', 'praise']) AS c FROM t WHERE c = 'bug'"
    assert db.execute(script).fetchall() == rows
    (ran,) = list(db.history)[-1:] or [None]
    assert ran is None or ("aliases" in ran.fired) == bool(rows)


def test_all_rows_of_each_statement_of_a_script_are_asked(
    db: sqlllm.Connection, fake: sqlllm.FakeModel
) -> None:
    script = "SELECT ai.complete(i::VARCHAR) FROM range(5000) r(i) LIMIT 4000; SELECT 1"
    assert db.execute(script).fetchall() == [(1,)]
    assert len(fake.inputs) == 4000


def test_a_block_that_may_mean_a_row_outside_is_left(both: Both) -> None:
    for query in (
        "SELECT id, (SELECT min(c) FROM (SELECT ai.complete(y) AS c FROM u WHERE u.k = t.k"
        " ORDER BY y LIMIT 1)) AS m FROM t ORDER BY id",
        "SELECT t.id, s.y FROM t, (SELECT y FROM u WHERE u.k = t.k AND ai.filter(y, 'good?')"
        " ORDER BY y LIMIT 1) AS s ORDER BY t.id",
        "SELECT id, (SELECT min(c) FROM (SELECT ai.complete(y) AS c FROM u WHERE u.k = id"
        " ORDER BY y LIMIT 1)) AS m FROM t ORDER BY id",
        "SELECT id, s.y FROM t, (SELECT y FROM u WHERE u.k = id AND ai.filter(y, 'good?')"
        " ORDER BY y LIMIT 1) AS s ORDER BY id",
    ):
        assert both.on._plan(query).fired == ()
        assert both.run(both.on, query) == both.run(both.off, query)


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1.4 ends no transaction for it")
def test_what_duckdb_cannot_bind_runs_as_it_was_written(db: sqlllm.Connection) -> None:
    made = Statement("SELECT 1", "SELECT nope FROM nowhere")
    assert db._execution.statement(db._con.execute, made).fetchall() == [(1,)]
    assert db.refused == {made.sql}
    assert db._execution.statement(db._con.execute, made).fetchall() == [(1,)]
    db.refused = frozenset()
    db.execute("BEGIN")
    with pytest.raises(duckdb.CatalogException, match="nowhere") as error:  # not that it is aborted
        db._execution.statement(db._con.execute, made)
    assert "LINE" not in str(error.value)


def test_executemany(both: Both) -> None:
    both.on.execute("CREATE OR REPLACE TABLE w (x VARCHAR)")
    both.on.executemany("INSERT INTO w SELECT ai_complete($1)", [["a"], ["b"]])
    assert both.on.execute("FROM w ORDER BY x").fetchall() == [("A",), ("B",)]
    both.on.execute("DROP TABLE w")
