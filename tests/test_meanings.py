"""A rewritten statement means what it meant: literals, names, and what sqlglot reads otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from both import TABLES, Both

TYPED = [
    "DATE '2026-01-01'::VARCHAR", "TIMESTAMP '2026-01-01 12:34:00'::DATE", "BIGINT '5'::VARCHAR",
    "TIMESTAMP WITH TIME ZONE '2026-01-01 00:00:00+00'::DATE", "DOUBLE PRECISION '2.7'::INT",
    "DECIMAL(10,2) '1.555'::VARCHAR", "JSON '{}'::VARCHAR", "BOOL 'true'::INT", "-INT '5'::DOUBLE",
    "DATE '2026-01-01'::TIMESTAMP::VARCHAR", "DATE '2026-01-01'.year()", "VARCHAR 'abc'[1:2]",
    "INTERVAL '1 day'::VARCHAR", "INTERVAL (2::INT) DAY", "DATE '2026-01-01'", "INT[] '[1]'::TEXT",
    "CAST('2026-01-01' AS DATE)::VARCHAR", "TRY_CAST('1' AS INT)::VARCHAR", "5::DOUBLE::VARCHAR",
    # a list is no row of values, and NULL in it a value
    "k NOT IN [1, NULL]", "k IN [1, NULL] IS NULL", "k IN (0, NULL)", "k NOT IN [id, k]",
    "INTERVAL '1 day 01:02:03'", "INTERVAL '1 day ago'", "INTERVAL '1 year 2 months'",
    "INTERVAL '3' DAY", "INTERVAL '1 hour' * 2",
    """'{"a.b": 1}'->>'a.b'""", """'{"a": {"b": 2}}'->>'$.a.b'""", """'{"a": [7]}'->'a[0]'""",
    "2 NOT IN (2, 7) = 5", "k NOT BETWEEN 1 AND 2 >= (id = 1)", "NOT k = 1", "NOT k IS NULL",
    "date_add(DATE '2026-01-01', 1)", "x[1]", "x[-1:]", "[10, 20][k]", "{'a': 1}['a']",
    "MAP {1: 'x'}[1]", "nvl(k, 7)", "locate('a', x)", "[1.0, 2] <=> [1, 3]", "'a' ^@ x || 'a'",
    # arguments that sqlglot would drop, swap or take for others
    "decode('a\\xA0'::BLOB, 'ignore')", "jaro_winkler_similarity('ABC', 'abd', 0.5)",
    "date_trunc(u, DATE '2026-05-06')", "date_diff(u, DATE '2026-01-01', DATE '2026-05-06')",
    "reduce([1, 2], lambda a, b: a - b, 10)", "mod(~id, 3) // 2", "7 * mod(id, 3)",
    "list_has_any([1], [2] || [1])", "xor(id, 1) + 1", ".5", "(id,)", "(id,) IN ((1,), (2,))",
    # `->` takes in what is beside it, also as an argument, where it makes no function
    """'{"ab": 1}'::JSON -> 'a' || 'b'""", """coalesce(j -> 'a' ->> 'b', j ->> 'c')""",
    """upper(j -> 'a' ->> 'b')""", """j ->> 'c' = '1'""", """j ->> 'c' || 'x'""",
]  # fmt: skip


@pytest.mark.parametrize("literal", TYPED)
def test_literals_keep_their_types(both: Both, literal: str) -> None:
    for con in (both.on, both.off):
        con.execute("CREATE OR REPLACE TEMP MACRO nvl(a, b) AS 'the user''s'")
        con.execute("CREATE OR REPLACE TEMP MACRO locate(a, b) AS a || b")
    unknown = ("'.", "[", "(id,)", "decode(")
    if duckdb.__version__ < "2" and any(part in literal for part in unknown):
        pytest.skip("DuckDB 1.4 can't parse it")
    also = """(SELECT 'month' AS u, '{"a": {"b": "x"}, "c": 1}'::JSON AS j)"""
    query = f"SELECT ai.complete(x) AS y, {literal} AS z FROM t, {also} ORDER BY id LIMIT 1"
    found = [con.sql(query) for con in (both.on, both.off)]
    assert found[0].types == found[1].types
    assert found[0].fetchall() == found[1].fetchall()


ALIASES = [
    "SELECT id, {f}(x) c FROM t WHERE c = 'BAD BUG'",
    "SELECT id, {f}(x) c, c || '1' d, d || '2' e, upper(d || c) FROM t",
    "SELECT id, {f}(x) c FROM t ORDER BY lower(c) DESC NULLS FIRST, id DESC",
    "SELECT id, {f}(x) c FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY c, id) = 1",
    "SELECT {f}(x) c, count(*) n FROM t WHERE c LIKE 'B%' GROUP BY c ORDER BY c",
    "SELECT {f}(x) x, x || '1' d FROM t WHERE x LIKE 'b%'",  # a column comes first
    "SELECT {f}(x) AS C, \"c\" || 1, c, C FROM t WHERE c LIKE '%O%'",
    "SELECT {f}(x) c, {f}(c) d, {f}(d || 'é') FROM t",
    "SELECT DISTINCT {f}(x) c, c FROM t WHERE c > '' ORDER BY c",
    "SELECT max({f}(x)) c, c || 'x' FROM t",
    "SELECT id i, {f}(x) c, max(c) OVER (PARTITION BY k) FROM t",
    "SELECT *, {f}(x) c, c || '1', k + 1 FROM t WHERE c IS NOT NULL",
    "SELECT {f}(x) c, list_transform([c, 'q'], lambda c: c || '!') FROM t",
    "SELECT CASE WHEN k > 0 THEN {f}(x) END c, coalesce(c, 'none') d FROM t WHERE c IS NULL",
    "SELECT {f}(a.x) || b.y c FROM t a JOIN u b ON a.k = b.k WHERE c LIKE 'BAD%' AND length(c) > 3",
    "WITH w AS (SELECT id, {f}(x) c FROM t WHERE c LIKE 'G%') SELECT c, c || '1' FROM w",
    "SELECT c FROM (SELECT {f}(x) c, k FROM t WHERE c <> 'BAD') WHERE k > 0",
    "SELECT {f}('a') c, c || 'b'",
    "SELECT id, {f}(x) c FROM t WHERE c > 'B' UNION ALL SELECT id, {f}(x) c FROM t WHERE c < 'C'",
    "SELECT id, {f}(x) c FROM t WHERE c IN (SELECT {f}(y) c FROM u WHERE c <> '')",
    # an index counts from 1, whatever it is taken of
    "SELECT upper({f}(x)) c, c[1] d, c[-1] e FROM t",
    "SELECT id, lower({f}(x)) c FROM t WHERE c[1] = 'b' ORDER BY c[2], id",
    "SELECT length({f}(x)) n, [10, 20, 30, 40, 50, 60, 70, 80][n], x[n] FROM t",
    "SELECT {f}(x) c, [c FOR c IN ['a']] FROM t",
    "SELECT {f}(x) c, list_transform(['q'], lambda c: c || 'z') d, c || 'w' FROM t",
    # the row of a table of that name comes first
    "SELECT {f}(x) t, t || '1' FROM t",
    "SELECT {f}(x) q, q || '1' FROM t q",
    "SELECT {f}(x) rowid FROM t WHERE rowid = 0",
    "WITH c AS (FROM t) SELECT {f}(x) c, c || '1' FROM c",
    "SELECT {f}(x), COLUMNS('k|id') + 1, 1_000 FROM t",
    # the last clause uses no name
    "SELECT id, {f}(x) c, c || '1' d FROM t WHERE k > 0 ORDER BY -id",
]


@pytest.mark.parametrize("query", ALIASES)
def test_names_of_calls_stand_for_them(both: Both, query: str) -> None:
    with duckdb.connect() as plain:
        plain.execute(TABLES)
        plain.execute("CREATE MACRO shout(x) AS upper(x)")
        found = plain.sql(query.format(f="shout"))
        columns, expected = found.columns, found.fetchall()
    rows, names, sent = both.run(both.on, query.format(f="ai.complete"))
    if "ORDER BY" not in query or "PARTITION" in query:
        rows, expected = sorted(rows, key=str), sorted(expected, key=str)
    assert rows == expected
    assert [name.replace("ai.complete", "shout") for name in names] == columns
    assert sent <= (12 if "é" in query or " u" in query else 5)


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE made AS SELECT list(k), max_by(x, k), ai.complete(min(x)) FROM t GROUP BY k",
        "CREATE TABLE made AS (SELECT ai.complete(x), 1_000, x IS NULL, list(k) OVER () FROM t)",
        "CREATE TABLE made(a, b) AS SELECT ai.complete(x), list([k]) FROM t GROUP BY ALL",
        "COPY (SELECT list(id), ai.complete(min(x)) AS y FROM t) TO '{file}' (HEADER)",
    ],
)
def test_names_in_tables_and_files_stay(both: Both, query: str, tmp_path: Path) -> None:
    found = []
    for con in (both.on, both.off):
        con.execute("DROP TABLE IF EXISTS made")
        con.execute(query.format(file=tmp_path / "made.csv"))
        made = f"'{tmp_path / 'made.csv'}'" if "COPY" in query else "made"
        found.append(con.sql(f"FROM {made}").columns)
    assert found[0] == found[1]
    assert both.on._plan(query).fired == ("gather",)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("UPDATE t SET x = ai.complete(x), k = DEFAULT WHERE id = 1", "takes DEFAULT for a column"),
        ("SELECT ai.complete(x), [1.0] <=> [2.0] FROM t", "sqlglot reads <=> or ^@ otherwise"),
        ("SELECT ai.complete(x) FROM t AS __ai_1", "names with __ai_ are those of the rules"),
        (
            "MERGE INTO t USING (SELECT 9 AS id, 1 AS k, ai.complete('q') AS x) n ON t.id = n.id "
            "WHEN NOT MATCHED THEN INSERT BY NAME",
            "can't write INSERT BY NAME",
        ),
    ],
)
def test_what_sqlglot_reads_otherwise_is_left(both: Both, query: str, why: str) -> None:
    made = both.on._plan(query)
    assert made.sql == query
    assert why in str(made)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT k, {f}(x) c FROM t ORDER BY ALL LIMIT 2",
        "SELECT {f}(x) c, id FROM t ORDER BY ALL DESC NULLS LAST LIMIT 2",
        "SELECT k, {f}(x) c FROM t ORDER BY * LIMIT 2",
        "SELECT x, id FROM t WHERE ai.filter(x, 'good?') ORDER BY ALL LIMIT 2",
        'SELECT {f}(x) c FROM (SELECT x, -id AS "all" FROM t) ORDER BY "all" LIMIT 2',
        "SELECT t.id FROM t, u WHERE t.k < u.k AND ai.match(x, y, 'good?') ORDER BY ALL LIMIT 1",
    ],
)
def test_order_by_all_is_the_select_list(both: Both, query: str) -> None:
    query = query.format(f="ai.complete")
    rows, names, sent = both.run(both.on, query)
    plain, plain_names, plain_sent = both.run(both.off, query)
    assert (rows, names) == (plain, plain_names)
    assert sent <= plain_sent
    made = both.on._plan(query)
    assert not both.on.refused & {statement.sql for statement in made.statements}
    assert made.notes == ()


def test_data_within_json_is_gathered(both: Both) -> None:
    data = """SELECT id, {'a': {'b': x}}::JSON AS j FROM t"""
    query = f"SELECT id, ai.complete(j -> 'a' ->> 'b') AS c FROM ({data}) ORDER BY id"
    assert both.on._plan(query).fired == ("gather",)
    assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]
    assert both.on.refused == frozenset()
    query = f"SELECT id FROM ({data}) WHERE ai.filter(j -> 'a' ->> 'b', 'good?') LIMIT 1"
    assert both.run(both.on, query)[2] < both.run(both.off, query)[2]
    made = both.on._plan("SELECT ai.complete(x), '{}'::JSON -> 'a' || x FROM t")
    assert "takes in what is beside it" in str(made)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ai.complete(x) c, list_transform(['q'], lambda x: x || c) d FROM t",
        "SELECT ai.complete(x) c FROM t WHERE list_transform(['q'], lambda x: x || c)[1] = 'qBAD'",
    ],
)
def test_a_call_is_not_put_where_a_variable_would_catch_its_column(both: Both, query: str) -> None:
    with pytest.raises(duckdb.BinderException, match="has side effects"):
        both.on.execute(query)


def test_names_that_double_are_left(both: Both) -> None:
    names = ", ".join(f"c{i} || c{i} AS c{i + 1}" for i in range(40))
    with pytest.raises(duckdb.BinderException, match="make the call a column first"):
        both.on.execute(f"SELECT ai.complete(x) AS c0, {names} FROM t")


def test_what_stays_refused_has_a_hint(both: Both) -> None:
    query = (
        "SELECT ai.complete(x) c FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.y = t.x AND c > '')"
    )
    hint = r"Hint: make the call a column first: FROM \(SELECT \*, ai"
    with pytest.raises(duckdb.BinderException, match=hint):
        both.on.execute(query)


def test_windows_keep_the_names_of_columns(both: Both) -> None:
    columns = "ai.complete(x), row_number() OVER (ORDER BY ai.complete(x), id), upper(x)"
    names = both.run(both.on, f"SELECT {columns} FROM t")[1]
    assert names == columns.replace("x), r", "x); r").replace("id), u", "id); u").split("; ")
    query = "SELECT row_number() OVER (ORDER BY id), 1_000, ai.complete(x) FROM t"
    assert both.run(both.on, query)[1] == both.run(both.off, query)[1]
    assert both.on._plan(query).fired == ("gather",)


def test_what_sqlglot_would_leave_out_is_left(both: Both, capsys: Any) -> None:
    query = "CREATE OR REPLACE TEMP TABLE c AS SELECT ai.complete(x) AS y FROM t WITH NO DATA"
    made = both.on._plan(query)
    assert (made.sql, made.fired) == (query, ())
    assert made.notes == ("left as it stands: Unsupported property withdataproperty",)
    both.fake.inputs.clear()
    both.on.execute(query)
    assert both.on.execute("SELECT count(*) FROM c").fetchall() == [(0,)]
    assert both.fake.inputs == []
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1.4 takes no writes in WITH")
@pytest.mark.parametrize(
    "write", ["INSERT INTO w VALUES (1)", "UPDATE w SET i = 5", "DELETE FROM w"]
)
@pytest.mark.parametrize(
    "query",
    [
        "SELECT ai.complete('a' || i) || 'b', i::BIGINT FROM n",
        "SELECT ai.complete('a' || i) AS c, i + 1 FROM n WHERE c > '' LIMIT 3",
        "SELECT * FROM ai.search('n', 'a', text := 'i', model := 'fake')",
        "SELECT ai.complete('a' || i), rank() OVER (ORDER BY ai.score(i, 'q')) FROM n",
    ],
)
def test_a_write_in_with_is_run_once(both: Both, write: str, query: str) -> None:
    """DuckDB runs it where only the names of columns are asked for."""
    written = f"WITH n AS ({write} RETURNING i) {query}"
    found = []
    for con in (both.on, both.off):
        con.execute("CREATE OR REPLACE TABLE w AS SELECT 0 AS i")
        both.on.explain(written)
        assert con.execute("FROM w").fetchall() == [(0,)]
        try:
            con.execute(written).fetchall()
        except duckdb.BinderException:
            con.execute("SELECT 1")
        found.append(con.execute("FROM w ORDER BY i").fetchall())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, rowid, ai.complete(x) AS c FROM t ORDER BY rowid LIMIT 2",
        "SELECT rowid AS r FROM t WHERE ai.filter(x, 'good?') ORDER BY id LIMIT 2",
        "SELECT filename AS f, ai.complete(x) AS c FROM read_csv('{file}') ORDER BY x LIMIT 1",
        "SELECT id FROM t WHERE len(list_filter([x], lambda y: ai.filter(y, 'good?'))) > 0",
        "SELECT id FROM t WHERE [ai.filter(y, 'good?') FOR y IN [x]][1] ORDER BY id",
        "SELECT id, [ai.complete(y) FOR y IN [x, 'z'] IF ai.filter(y, 'good?')] AS c FROM t",
        "SELECT id, list_transform(['z'], lambda x: ai.complete(x)) AS c FROM t WHERE k > 1",
    ],
)
def test_in_a_transaction_nothing_is_tried(both: Both, query: str, tmp_path: Path) -> None:
    """DuckDB 2.0 ends the user's transaction where it can't bind a statement."""
    (tmp_path / "x.csv").write_text("id,x\n1,good\n")
    query = query.replace("{file}", (tmp_path / "x.csv").as_posix())
    expected = sorted(both.run(both.off, query)[0])
    refused = both.on.refused
    both.on.execute("BEGIN")
    assert sorted(both.on.execute(query).fetchall()) == expected
    assert both.on.execute("SELECT 1").fetchall() == [(1,)]
    both.on.execute("ROLLBACK")
    assert both.on.refused == refused


@pytest.mark.parametrize(
    "query",
    [
        "SELECT k, ai.complete(x) AS c FROM s ORDER BY ALL LIMIT 2",
        "SELECT k, ai.complete(x) AS c FROM s ORDER BY ALL DESC LIMIT 2",
        "SELECT s.k, ai.complete(x) AS c FROM s JOIN u ON u.k < s.id ORDER BY ALL LIMIT 2",
        "SELECT k FROM s WHERE ai.filter(x || 'good', 'good?') ORDER BY ALL LIMIT 2",
        "SELECT x, ai.complete(x) AS c FROM s ORDER BY #2 LIMIT 2",
        "SELECT s.*, -k AS n, ai.complete(x) AS c FROM s ORDER BY 2 LIMIT 2",
        "SELECT COLUMNS('id|k'), -k AS n, ai.complete(x) AS c FROM s ORDER BY 2 LIMIT 2",
        "SELECT k, ai.complete(x) AS c FROM s ORDER BY COLUMNS(*) LIMIT 2",
        "SELECT k, ai.complete(x) AS c FROM s ORDER BY * LIMIT 2",
        "SELECT * REPLACE (-id AS id), ai.complete(x) AS c FROM s ORDER BY id LIMIT 2",
        "SELECT -COLUMNS('id|k'), ai.complete(x) AS c FROM s ORDER BY id LIMIT 2",
        "SELECT k FROM s WHERE ai.filter(x || 'good', 'good?') ORDER BY k LIMIT 25%",
        "SELECT k FROM s WHERE ai.filter(x || 'good', 'good?') ORDER BY k LIMIT 25 PERCENT",
        "SELECT #1 AS n, ai.complete(s.x) AS c FROM s JOIN u ON u.k = s.k ORDER BY s.k, y LIMIT 2",
        # which row of u is the last depends on the answers
        "SELECT s.id, u.y FROM s ASOF JOIN u ON s.k >= u.k AND ai.filter(u.y, 'good?') "
        "ORDER BY s.id LIMIT 9",
        "SELECT s.id, u.y FROM s ASOF JOIN u ON s.k >= u.k AND "
        "ai.match(s.x, u.y, 'good?', strategy := 'blocking', recall := 1) ORDER BY s.id",
        "SELECT * EXCLUDE y, ai.complete(y) AS c FROM s JOIN u ON u.k = s.k ORDER BY id, y LIMIT 2",
        "SELECT COLUMNS(lambda n: true), ai.complete('q' || k) AS c FROM s "
        "ORDER BY ai.complete(x), k LIMIT 2",
    ],
)
def test_what_counts_columns_or_rows_counts_the_same(both: Both, query: str) -> None:
    for con in (both.on, both.off):
        con.execute("CREATE OR REPLACE TABLE s AS SELECT 9 - i AS id, i AS k, 'x' || i % 7 AS x "
                    "FROM range(9) r(i)")  # fmt: skip
    assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]


def test_columns_of_a_window_are_not_shown(both: Both) -> None:
    query = (
        "SELECT COLUMNS(lambda n: true), rank() OVER (ORDER BY ai.score(x, 'good?')) AS r FROM t"
    )
    assert "windows" not in both.on._plan(query).fired
    for star, shown in (
        ("*", ["id", "k", "x"]),
        ("t.*", ["id", "k", "x"]),
        ("* EXCLUDE k", ["id", "x"]),
    ):
        names = both.run(both.on, query.replace("COLUMNS(lambda n: true)", star))[1]
        assert names == [*shown, "r"]


@pytest.mark.parametrize("star", ["*", "t.*", "* EXCLUDE (k)", "* REPLACE (-k AS k)"])
def test_columns_of_a_rule_are_not_shown(both: Both, star: str) -> None:
    for columns, rest, rule in (
        ("ai.complete(x) AS y", "ORDER BY ai.score(x, 'good?') DESC, id LIMIT 1", "after_limit"),
        ("id AS y", "WHERE ai.filter(x, 'good?') ORDER BY t.id LIMIT 1", "early_stop"),
    ):
        query = f"SELECT {star}, {columns} FROM t {rest}"
        *found, _, ran = both.planned(query)
        assert rule in ran.fired or "REPLACE" in star
        assert found == list(both.run(both.off, query)[:2])


def test_the_place_of_nulls_is_not_the_default_of_sqlglot(both: Both) -> None:
    for con in (both.on, both.off):
        con.execute("SET default_null_order = 'nulls_first'")
    data = "(VALUES (1, 'a'), (NULL, 'b'), (3, 'c')) AS v(k, x)"
    for query in (
        f"SELECT k, ai.complete(x) AS y FROM {data} ORDER BY k NULLS LAST LIMIT 2",
        f"SELECT k, ai.complete(x) AS y FROM {data} ORDER BY k LIMIT 2",
        f"SELECT k, ai.complete(x) AS y FROM {data} ORDER BY k DESC NULLS FIRST LIMIT 2",
        f"SELECT list(k ORDER BY k NULLS LAST) AS l, max(ai.complete(x)) AS y FROM {data}",
        f"SELECT first_value(k) OVER (ORDER BY k NULLS LAST) AS f, ai.complete(x) y FROM {data}",
    ):
        assert both.on._plan(query).fired
        assert both.run(both.on, query)[:2] == both.run(both.off, query)[:2]


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1 tells no tree to compare")
@pytest.mark.parametrize("expression", ["INTERVAL '2' d", "INTERVAL '2' h"])
def test_what_sqlglot_reads_otherwise_is_left_as_it_stands(both: Both, expression: str) -> None:
    query = f"SELECT id, ai.complete(x) AS y, {expression} FROM t ORDER BY id"
    made = both.on._plan(query)
    assert made.notes == ("left as it stands: to DuckDB it is another query than to sqlglot",)
    assert both.run(both.on, query) == both.run(both.off, query)
    for other in (f"INSERT INTO t BY NAME {query} RETURNING id", f"WITH c AS (FROM u) {query}"):
        assert both.on._plan(other).notes == made.notes
    assert both.on._plan("INSERT INTO t BY NAME SELECT ai.complete(x) AS x FROM t").fired


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1 tells no tree to compare")
@pytest.mark.parametrize(
    "expression",
    [
        "if(k > 1, 'a', 'b')", "CASE WHEN k > 1 THEN 'a' END", "ARRAY[1, k]", "[k]", "1_000",
        "k::DECIMAL", "x::VARCHAR(9)", "k IS NOT NULL", "(k > 1) IS NOT TRUE", "x NOT LIKE 'a'",
        "x NOT ILIKE 'a'", "k NOT IN (1, 2)", "k NOT BETWEEN 1 AND 2", "k IS DISTINCT FROM 1",
        "len(x)", "current_date", "now() - INTERVAL 1 DAY", "date_part('y', now())",
        "extract(dow FROM now())", """'{"a": {"b": 1}}'::JSON -> 'a' ->> 'b'""", "X", "k::INT8",
        "list_transform([k], lambda e: e + 1)", "bool_and(k > 1) OVER ()", "{'a': k}.a",
        "list_sort([3, NULL], 'ASC', 'NULLS LAST')", "log10(k)", "if(k > 1, 'a')", "today()",
        "string_agg(x) OVER (ORDER BY id)", "listagg(x, ',') OVER ()", "[[k]][1]", "k::DECIMAL(9)",
        "count(DISTINCT k) OVER ()", "(SELECT string_agg(y) FROM u)", "(SELECT count(*) FROM t, u)",
        "(SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY k) FROM u)", "xor(k, 1)",
        "(SELECT mode() WITHIN GROUP (ORDER BY k) FROM u)", "(SELECT count(DISTINCT k, y) FROM u)",
        "(SELECT max(i) FROM u, unnest([1]) r(i))", "(SELECT list(y ORDER BY k)[1] FROM u)",
        "first_value(x IGNORE NULLS) OVER (ORDER BY id)",
    ],
)  # fmt: skip
def test_what_can_be_written_otherwise_is_planned(both: Both, expression: str) -> None:
    made = both.on._plan(f"SELECT id, ai.complete(x) AS y, {expression} AS z FROM t ORDER BY id")
    assert (made.fired, made.notes) == (("gather",), ())
