from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from both import Both
from rich.cells import cell_len

import sqlllm
from sqlllm.cli import main

Db = tuple[sqlllm.Connection, sqlllm.FakeModel]


@pytest.fixture
def db() -> Iterator[Db]:
    fake = sqlllm.FakeModel(lambda task, text: text != "text 5" if task.yes_no else text.upper())
    with sqlllm.connect(models={"fake": fake}, model="fake") as con:
        con.execute(
            "CREATE TABLE t AS SELECT i AS id, i % 10 AS k, 'text ' || i % 700 AS x "
            "FROM range(5000) r(i)"
        )
        con.execute("CREATE TABLE u AS SELECT i AS k, 'u' || i AS y FROM range(4) r(i)")
        yield con, fake


def test_a_byte_order_mark_hides_no_call(db: Db) -> None:
    con, fake = db
    query = "\ufeffSELECT ai_complete(x) AS y FROM t LIMIT 1"
    assert con.explain(query).fired == ("names", "after_limit")
    assert con.sql(query).fetchall() == con.execute(query).fetchall() == [("TEXT 0",)]
    assert con.executemany("\ufeffSELECT ?", [[1]]).fetchall() == [(1,)]
    assert fake.inputs == ["text 0"]


def test_other_statements_stay_as_they_are(
    db: Db, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    script = "CALL  pragma_version(); EXPLAIN WITH c AS (FROM t) SELECT ai.complete(x) FROM c"
    lines = str(db[0].explain(script)).splitlines()
    assert lines[0] == "CALL  pragma_version();"
    assert lines[1].startswith("EXPLAIN WITH c AS")
    assert lines[2].startswith(" " * 5 + "__ai_")
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


@pytest.mark.parametrize(
    ("query", "parameters", "expected"),
    [
        ("SELECT ai.complete(x) FROM t", None, [(5000, 700, 0, 1400, 1)]),
        ("SELECT ai.complete(x) FROM t LIMIT 50", None, [(50, 50, 0, 100, 1)]),
        ("UPDATE t SET x = ai.complete(x) WHERE k = ?", [3], [(500, 70, 0, 140, 1)]),
        ("DELETE FROM t WHERE ai.filter(x, 'q') AND k < 2", None, [(1000, 140, 0, 280, 1)]),
        (
            "SELECT ai.complete(x) FROM t WHERE ai.filter(x, 'q') AND k = 1",
            None,
            [(500, 70, 0, 140, 1), (500, 70, 0, 140, 1)],
        ),
        (
            "SELECT k, ai.complete(max(x)) FROM t GROUP BY k HAVING k > 3",
            None,
            [(6, 6, 0, 12, 1)],
        ),
        ("SELECT CASE WHEN k = 1 THEN ai.complete(x) END FROM t", None, [(500, 70, 0, 140, 1)]),
        (
            "SELECT count(*) FROM t JOIN u USING (k) WHERE ai.filter(x, 'q')",
            None,
            [(2000, 280, 0, 560, 1)],
        ),
        ("SELECT ai.complete(ai.complete(x)) FROM t", None, [(None,) * 5, (5000, 700, 0, 1400, 1)]),
        ("WITH c AS (SELECT * FROM t WHERE k = 1) SELECT ai.complete(x) FROM c", None,
         [(500, 70, 0, 140, 1)]),
        ("SELECT ai.complete(x) AS y FROM t QUALIFY row_number() OVER (PARTITION BY k) = 1", None,
         [(10, None, 0, None, 1)]),
        ("SELECT ai.complete('constant') FROM t", None, [(None, 1, 0, 1, 1)]),
        ("SELECT ai.complete(repeat('w ', id * id)) FROM t WHERE id < 4", None,
         [(4, 4, 0, 0 + 1 + 4 + 9, 1)]),
        ("SELECT ai.complete(nullif(x, x)) FROM t", None, [(None, 0, 0, 0, 0)]),
    ],
)  # fmt: skip
def test_calls_are_counted_not_asked(
    db: Db, query: str, parameters: list[int] | None, expected: list[tuple[int | None, ...]]
) -> None:
    con, fake = db
    calls = con.explain(query, parameters).calls
    assert fake.inputs == []
    got = [(c.rows, c.distinct, c.cached, c.tokens, c.batches) for c in calls]
    for counts, wanted in zip(got, expected, strict=True):
        known = [(a, b) for a, b in zip(counts, wanted, strict=True) if b is not None]
        assert known == [(b, b) for _, b in known]


def test_analyze_puts_what_was_asked_beside(db: Db) -> None:
    con, fake = db
    query = "SELECT ai.complete(x) FROM t WHERE k = 5 AND ai.filter(x, 'q')"
    complete, condition = con.explain(query, analyze=True).calls
    assert len(fake.inputs) == condition.distinct + condition.distinct - 1
    assert condition.actual is not None
    assert complete.actual is not None
    assert (condition.actual.rows, condition.actual.sent, condition.actual.batches) == (500, 70, 1)
    assert (complete.actual.rows, complete.actual.sent) == (492, 69)  # "text 5" did not pass
    assert "at most" in complete.note
    before = len(fake.inputs)
    complete, condition = con.explain(query).calls
    assert (condition.cached, condition.send, condition.tokens) == (70, 0, 0)
    assert condition.seconds == 0.0  # measured by now
    assert (complete.cached, complete.send) == (69, 1)
    assert len(fake.inputs) == before


def test_statements_that_no_rule_changes_are_counted_too(db: Db) -> None:
    con, _ = db
    calls = con.explain("SELECT 1; SELECT ai_complete('a'); SELECT ai.complete('b') FROM t").calls
    assert [call.distinct for call in calls] == [1, 1]
    con.explain("CREATE TEMP TABLE plain AS SELECT 1", analyze=True)
    assert con.execute("FROM plain").fetchall() == [(1,)]


def test_what_is_left_says_why(db: Db) -> None:
    con, _ = db
    for query, why in (
        ("SELECT ai.complete(x) FROM t WHERE random() < 2", "random() differs each time"),
        ("SELECT ai.complete(x) IS NULL FROM t LIMIT 9", "after LIMIT"),
        ("SELECT y FROM (SELECT k, ai.complete(x) AS y FROM t) WHERE k = 1", "not all rows"),
        ("SELECT x FROM t WHERE ai.filter(x, 'q') LIMIT 2", "stops at LIMIT"),
        ("SELECT 1 FROM t WHERE ai.filter(x, 'q') AND ai.score(x, 'q') > 0.5", "chooses the order"),
        ("SELECT ai.complete(x) FROM nowhere", "not counted: Table with name nowhere"),
        (
            "WITH c AS (SELECT ai.complete(x) AS y FROM t) SELECT ai.score(y, 'q') FROM c",
            "its inputs depend on answers",
        ),
        ("CREATE TEMP TABLE w AS FROM t; SELECT ai.complete(x) FROM w", "not counted"),
        ("UPDATE t SET k = 1 RETURNING ai.complete(x)", "in no SELECT"),
        ("INSERT INTO u VALUES (9, ai.complete('a'))", "in no SELECT"),
        (
            "MERGE INTO u USING t ON u.k = t.id WHEN MATCHED THEN UPDATE SET y = ai.complete(t.x)",
            "in no SELECT",
        ),
        ("PIVOT t ON ai.complete(x) USING count(*)", "in no SELECT"),
    ):
        explained = con.explain(query)
        assert any(why in call.note for call in explained.calls), query
        assert why in str(explained)
    with pytest.raises(duckdb.ParserException, match="LINE 1: SELECT ai"):
        con.explain("SELECT ai.complete(x FROM t")
    con.explain("CREATE TEMP TABLE w AS FROM t; SELECT ai.complete(x) FROM w", analyze=True)
    assert con.execute("SELECT count(*) FROM w").fetchone() == (5000,)


def test_a_view_with_calls_is_not_asked(db: Db) -> None:
    con, fake = db
    con.execute("CREATE TEMP VIEW v AS SELECT id, ai.complete(x) AS y FROM t")
    (call,) = con.explain("SELECT ai.complete(y) FROM v").calls
    assert fake.inputs == []
    assert "explain asks no model" in call.note
    assert len(con.execute("SELECT ai.complete(y) FROM v").fetchall()) == 5000


@pytest.mark.parametrize(
    ("query", "parameters"),
    [("SELECT ai.complete(nothing) FROM t", None), ("SELECT ai.complete(x || ?) FROM none", ["!"])],
)
def test_what_cannot_be_counted_ends_no_transaction(
    db: Db, query: str, parameters: list[str] | None
) -> None:
    con, _ = db
    con.execute("BEGIN; DELETE FROM t")
    assert "not counted" in str(con.explain(query, parameters))
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
    con.execute("COMMIT")


def test_wide_characters_keep_the_columns_straight(db: Db) -> None:
    found = db[0].explain("SELECT ai.complete('漢字漢字' || 'b'), ai.complete('a')")
    lines = [line for line in str(found).splitlines() if "fake" in line]
    assert len({cell_len(line[: line.index("fake")]) for line in lines}) == 1
    assert len(lines) == 2


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT ai.classify(i::VARCHAR, ['a', 'b']) FROM range(30) r(i)"
    assert main(["explain", query]) == 0
    out = capsys.readouterr().out
    assert "-- rules: gather" in out
    assert "ai.classify(CAST(i AS TEXT), ['a', 'b'])  minilm    30        30" in out
    assert main(["explain", "--analyze", "SELECT ai.embedd('x')"]) == 1
    assert "did you mean `embed`" in capsys.readouterr().err


def test_a_call_of_several_columns_is_not_counted(both: Both) -> None:
    query = "SELECT ai.complete(COLUMNS('x|k')) FROM t"
    assert "not counted: it asks about each column of COLUMNS" in str(both.on.explain(query))
