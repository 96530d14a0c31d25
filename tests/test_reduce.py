from __future__ import annotations

import random
import re
import uuid
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import sqlllm


def told(task: sqlllm.Task, text: str) -> Any:
    """A short answer that depends on every character of the prompt and on the instruction."""
    if task.kind == "choose":
        return "2" in text if task.yes_no else task.labels[len(text) % len(task.labels)]
    asked = task.system.partition("\n")[0]
    return f"A{zlib.crc32(f'{asked}|{text}'.encode()):08x}"


def expected(texts: list[str | None] | None, asked: str, *, in_order: bool = False) -> str | None:
    """What `told` says of a group that fits in one prompt."""
    known = [text for text in texts or [] if text is not None]
    runs = [(text, len(list(run))) for text, run in groupby(known if in_order else sorted(known))]
    pieces = [text if n == 1 else f"({n} times) {text}" for text, n in runs]
    prompt = "\n".join(["Rows:", *(f"{i}. {piece}" for i, piece in enumerate(pieces, 1))])
    return told(sqlllm.Task("complete", system=asked), prompt) if pieces else None


TABLE = """
CREATE TABLE t AS
SELECT i, i % 4 AS k, CASE WHEN i % 5 > 0 AND k <> 3 THEN 'x' || (i * 7 % 13 % 5) END AS x
FROM range(40) r(i)
"""


@pytest.fixture
def fake() -> sqlllm.FakeModel:
    return sqlllm.FakeModel(told)


@pytest.fixture
def narrow() -> sqlllm.FakeModel:
    """A model that reads 400 words."""
    return sqlllm.FakeModel(told, window=400)


@pytest.fixture
def db(fake: sqlllm.FakeModel, narrow: sqlllm.FakeModel) -> Iterator[sqlllm.Connection]:
    with sqlllm.connect(models={"fake": fake, "narrow": narrow}, model="fake") as con:
        con.execute(TABLE)
        yield con


def words(prompt: str) -> set[str]:
    return set(prompt.split())


def test_five_thousand_rows_in_fifty_groups(
    db: sqlllm.Connection, narrow: sqlllm.FakeModel
) -> None:
    rows = [(i % 50, f"row {i:04} of {i % 50}") for i in range(5000)]
    query = "SELECT g, ai.agg(x, 'sum up', model := 'narrow', max_tokens := 40) FROM r GROUP BY g"
    outcomes = []
    for seed in range(2):
        random.Random(seed).shuffle(rows)
        shuffled = pa.table({"g": [g for g, _ in rows], "x": [x for _, x in rows]})
        db.execute("CREATE OR REPLACE TABLE r AS FROM shuffled")
        assert len(shuffled) == 5000
        narrow.fingerprint = uuid.uuid4().hex  # nothing is cached
        narrow.inputs.clear()
        narrow.batches.clear()
        outcomes.append((sorted(db.execute(query).fetchall()), sorted(narrow.inputs)))
        # 100 rows of 4 words a group, 12 words a line with its number's allowance: 23 rows in the
        # 400 less 25 for the template, 40 for the answer and 58 for heading and instruction.
        assert narrow.batches == [50 * 5, 50]
    assert outcomes[0] == outcomes[1]
    asked = words(" ".join(narrow.inputs))
    assert all(f"{i:04}" in asked for i in range(5000))
    partial, final = narrow.inputs[:250], narrow.inputs[250:]
    answers = {told(narrow.tasks[-2], prompt) for prompt in partial}
    assert answers == {word for prompt in final for word in words(prompt) if word[0] == "A"} - {
        "Answers"
    }
    answer = {told(narrow.tasks[-1], prompt) for prompt in final}
    assert answer == {row[1] for row in outcomes[1][0]}
    used = db.execute("SELECT rows, sent, batches FROM ai.usage ORDER BY query_id").fetchall()
    assert used[-1] == (50, 300, 2)


def test_four_answers_about_parts_fit_in_a_prompt(
    db: sqlllm.Connection, narrow: sqlllm.FakeModel
) -> None:
    db.execute("SELECT ai.agg('row ' || i, 'sum up', model := 'narrow') FROM range(200) r(i)")
    partial, final = narrow.tasks[0], narrow.tasks[-1]
    assert 0 < 4 * (partial.max_tokens + 8) <= 400 - final.max_tokens - 25 - 32


PLANNED = [
    ("ai.agg(x, 'sum up')", "list(x)", False),
    ("ai_agg(text := x, instruction := 'sum up')", "list(x)", False),
    ("ai.agg(text => x, instruction => 'sum up')", "list(x)", False),
    ("ai.agg(DISTINCT x, 'sum up')", "list(DISTINCT x)", False),
    ("ai.agg(DISTINCT text => x, instruction => 'sum up')", "list(DISTINCT x)", False),
    ("ai.agg(DISTINCT x, 'sum up', max_tokens := 9)", "list(DISTINCT x)", False),
    ("ai.agg(x, 'sum up') FILTER (WHERE i > 10)", "list(x) FILTER (WHERE i > 10)", False),
    ("ai.agg(x, 'sum up' ORDER BY i DESC)", "list(x ORDER BY i DESC)", True),
    ("ai.agg(DISTINCT x, 'sum up' ORDER BY x DESC) FILTER (i > 4)",
     "list(DISTINCT x ORDER BY x DESC) FILTER (WHERE i > 4)", True),
    ("ai.agg(i, 'sum up')", "list(CAST(i AS VARCHAR))", False),
    ("ai.agg(x || '!', 'sum up')", "list(x || '!')", False),
    ("ai.agg(x, 'sum up' ORDER BY ai.score(x, 'a 2?'), i)",
     "list(x ORDER BY x LIKE '%2%', i)", True),
]  # fmt: skip

AROUND = [
    "SELECT {} AS y FROM t",
    "SELECT k, count(*) AS n, {} AS y FROM t GROUP BY k ORDER BY k",
    "SELECT k, {} AS y FROM t WHERE i < 30 GROUP BY k HAVING count(*) > 7 ORDER BY k",
    "SELECT k, {} AS y FROM t GROUP BY k ORDER BY k DESC LIMIT 2",
    "SELECT k, y FROM (SELECT k, {} AS y FROM t GROUP BY ALL) ORDER BY k",
    "WITH c AS (SELECT k, {} AS y FROM t GROUP BY k) SELECT a.k, b.y FROM c a JOIN c b USING (k) "
    "ORDER BY a.k",
    "SELECT k, {} AS y FROM t GROUP BY ROLLUP (k) ORDER BY k",
    "SELECT {} AS y FROM t WHERE false",
    "SELECT k, i % 2 AS e, {} AS y, max(x) AS z FROM t GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT (SELECT {} FROM t) AS y",
    "SELECT k, {} AS y FROM t GROUP BY k UNION ALL SELECT 9, 'b' ORDER BY k",
]


@pytest.mark.parametrize("around", AROUND)
def test_rows_are_those_of_a_list(db: sqlllm.Connection, around: str) -> None:
    for call, texts, in_order in PLANNED:
        got = db.execute(around.format(call))
        at = [column[0] for column in got.description].index("y")
        rows = got.fetchall()
        wanted = []
        for row in db._con.execute(around.format(texts).replace("'b'", "['b']")).fetchall():
            y = "b" if row[at] == ["b"] else expected(row[at], "sum up", in_order=in_order)
            wanted.append((*row[:at], y, *row[at + 1 :]))
        assert rows == wanted, call


def test_several_in_one_select(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    query = (
        "SELECT k, ai.agg(x, 'sum up') AS a, count(x) AS n, ai.agg(x, 'who?') AS b, "
        "ai.agg(DISTINCT x, 'sum up') AS c, ai.classify(ai.agg(x, 'sum up'), ['p', 'q']) AS d "
        "FROM t GROUP BY k ORDER BY k"
    )
    rows = db.execute(query).fetchall()
    lists = db._con.execute("SELECT list(x), count(x) FROM t GROUP BY k ORDER BY k").fetchall()
    assert [row[1:4] for row in rows] == [
        (expected(x, "sum up"), n, expected(x, "who?")) for x, n in lists
    ]
    assert [row[4] for row in rows] == [
        expected(x and list({*x} - {None}), "sum up") for x, _ in lists
    ]
    assert [row[5] is None for row in rows] == [False, False, False, True]
    assert sum(fake.batches) == 10  # c differs in one group; d asks about a
    if duckdb.__version__ >= "2":  # 1.4 hands groups over in several chunks
        assert sorted(fake.batches) == [1, 3, 3, 3]


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1.4 has no windows in macros")
def test_window(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    query = "SELECT i, ai.agg(x, 'sum up') OVER w FROM t WINDOW w AS (PARTITION BY k) ORDER BY i"
    lists = db._con.execute("SELECT i, list(x) OVER (PARTITION BY k) FROM t ORDER BY i").fetchall()
    assert db.execute(query).fetchall() == [(i, expected(x, "sum up")) for i, x in lists]
    assert len(fake.inputs) == 3


def test_without_a_planner(fake: sqlllm.FakeModel) -> None:
    con = sqlllm.install(duckdb.connect(), models={"fake": fake}, model="fake")
    con.execute(TABLE)
    wanted = con.execute("SELECT list(x) FROM t GROUP BY k ORDER BY k").fetchall()
    for name in ("ai.agg", "ai_agg"):
        rows = con.execute(f"SELECT {name}(x, 'sum up') FROM t GROUP BY k ORDER BY k").fetchall()
        assert rows == [(expected(texts, "sum up"),) for (texts,) in wanted]
    with pytest.raises(duckdb.InvalidInputException, match="are only applicable to"):
        con.execute("SELECT ai.agg(DISTINCT x, 'sum up') FROM t")
    con.close()


def test_statements_that_keep_or_change_rows(db: sqlllm.Connection) -> None:
    db.execute("CREATE TABLE s AS SELECT k, ai.agg(DISTINCT x, 'sum up') AS y FROM t GROUP BY k")
    db.execute("CREATE VIEW v AS SELECT k, ai.agg(DISTINCT x, 'sum up') AS y FROM t GROUP BY k")
    db.execute("INSERT INTO s SELECT 9, ai.summarize_agg(x ORDER BY i) FROM t")
    lists = db._con.execute("SELECT k, list(DISTINCT x) FROM t GROUP BY k ORDER BY k").fetchall()
    wanted = [(k, expected(texts, "sum up")) for k, texts in lists]
    assert db.execute("FROM v ORDER BY k").fetchall() == wanted
    (texts,) = db._con.execute("SELECT list(x ORDER BY i) FROM t").fetchone()
    about = expected(texts, "Summarise what the rows say.", in_order=True)
    assert db.execute("FROM s ORDER BY k").fetchall() == [*wanted, (9, about)]
    db.executemany("INSERT INTO s SELECT ?, ai.agg(DISTINCT x, 'sum up') FROM t", [[7], [8]])
    (every,) = db._con.execute("SELECT list(DISTINCT x) FROM t").fetchone()
    rows = db.execute("SELECT y FROM s WHERE k IN (7, 8)").fetchall()
    assert rows == [(expected(every, "sum up"),)] * 2
    assert db.execute("SELECT ai.agg(DISTINCT x, $1) FROM t", ["who?"]).fetchone() == (
        expected(every, "who?"),
    )


def test_column_names_are_duckdbs(db: sqlllm.Connection) -> None:
    bare = sqlllm.connect(models={"fake": sqlllm.FakeModel(told)}, model="fake", rewrite=False)
    bare.execute(TABLE)
    for query in (
        "SELECT ai.agg(x||'b',   'sum up') FROM t",
        "SELECT ai.agg(ai.complete(x), 'sum up'), k FROM t GROUP BY k ORDER BY k",
        "SELECT *, ai.complete(k::VARCHAR) FROM "
        "(SELECT k, ai.agg(x || 'b', 'sum up') FROM t GROUP BY k) ORDER BY k",
        "WITH c AS (SELECT ai.agg(ai.complete(x || 'b'), 'sum up') FROM t) FROM c",
    ):
        outcomes = []
        for con in (db, bare):
            got = con.execute(query)
            outcomes.append(([column[0] for column in got.description], got.fetchall()))
        assert outcomes[0] == outcomes[1]
    bare.close()


def test_calls_inside_and_around(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    query = (
        "SELECT ai.complete(s) FROM (SELECT ai.agg(ai.complete(x), 'sum up') s FROM t GROUP BY k)"
    )
    rows = db.execute(query).fetchall()
    distinct = db._con.execute("SELECT count(DISTINCT x) FROM t").fetchone()[0]
    assert fake.batches == [distinct, 3, 3]
    assert sorted(r is None for (r,) in rows) == [False, False, False, True]


def test_cheap_conditions_on_groups_first(db: sqlllm.Connection, fake: sqlllm.FakeModel) -> None:
    query = (
        "SELECT k FROM t GROUP BY k "
        "HAVING ai.agg(x, 'sum up') LIKE 'A%' AND count(x) > 7 AND max(i) > 37"
    )
    assert db.execute(query).fetchall() == [(2,)]
    assert len(fake.inputs) == 1


def test_instruction_per_group(db: sqlllm.Connection) -> None:
    rows = db.execute("SELECT k, ai.agg(x, 'about ' || k) FROM t GROUP BY k ORDER BY k").fetchall()
    lists = db._con.execute("SELECT k, list(x) FROM t GROUP BY k ORDER BY k").fetchall()
    assert rows == [(k, expected(texts, f"about {k}")) for k, texts in lists]


def test_one_group_of_one_long_text(db: sqlllm.Connection, narrow: sqlllm.FakeModel) -> None:
    text = " ".join(f"w{i}" for i in range(15_000))
    assert len(text) > 90_000
    query = "SELECT ai.agg(x, 'sum up', model := 'narrow', max_tokens := 40) FROM (SELECT $1 AS x)"
    (answer,) = db.execute(query, [text]).fetchone()
    assert answer.startswith("A")
    asked = words(" ".join(narrow.inputs))
    assert all(f"w{i}" in asked for i in range(15_000))
    assert narrow.inputs[0].startswith("Rows:\n1. (part 1 of ")
    assert len(narrow.batches) == 3  # 60 parts, their 2 answers' prompts, one answer
    assert narrow.batches[-1] == 1


def test_summarize(db: sqlllm.Connection, narrow: sqlllm.FakeModel, fake: sqlllm.FakeModel) -> None:
    long = [" ".join(f"{name}{i}" for i in range(n)) for name, n in (("p", 900), ("q", 2000))]
    db.execute("CREATE TABLE s (i INTEGER, x VARCHAR)")
    texts = ["short", None, long[0], "", "short", long[1]]
    db._con.executemany("INSERT INTO s VALUES (?, ?)", list(enumerate(texts)))
    call = "ai.summarize(x, max_words := 20, style := 'one sentence', max_tokens := 40"
    rows = db.execute(f"SELECT {call}, model := 'narrow') FROM s ORDER BY i").fetchall()
    parts, final = narrow.batches
    assert final == 4
    assert parts == 4 + 8
    assert "in at most 20 words. Style: one sentence." in narrow.tasks[-1].system
    assert {narrow.inputs[-i] for i in range(1, 5)} >= {"short", ""}
    assert [row[0] for row in rows].count(None) == 1
    assert rows[0] == rows[4] == (told(narrow.tasks[-1], "short"),)
    asked = words(" ".join(narrow.inputs[:parts]))
    assert all(word in asked for text in long for word in text.split())
    assert db.execute(f"SELECT {call}) FROM s ORDER BY i").fetchall()[1] == (None,)
    assert sorted(fake.inputs) == sorted({text for text in texts if text is not None})
    used = db.execute("SELECT model, rows, sent FROM ai.usage ORDER BY query_id").fetchall()
    assert used == [("narrow", 6, 16), ("fake", 6, 4)]


def test_summarize_many_long_texts_level_by_level(
    db: sqlllm.Connection, narrow: sqlllm.FakeModel
) -> None:
    db.execute("CREATE TABLE s AS SELECT repeat('w' || i || '. ', 300) AS x FROM range(2100) r(i)")
    query = "SELECT count(ai.summarize(x, max_tokens := 40, model := 'narrow')) FROM s"
    assert db.execute(query).fetchall() == [(2100,)]
    assert narrow.batches == [4200, 2100]


def test_what_is_refused(db: sqlllm.Connection) -> None:
    for call, message in (
        ("ai.agg(x, '')", "instruction is empty"),
        ("ai.agg(x, NULL)", "instruction is empty"),
        ("ai.summarize(x, max_words := 0)", "max_words must be a whole number"),
        ("ai.summarize(x, style := 3)", "style must be text"),
        ("ai.agg(x, 'i', model := 'narrow', max_tokens := 380)", "leave room for 0 tokens of text"),
        ("ai.agg(x, 'i', modle := 'narrow')", "no argument 'modle'"),
    ):
        with pytest.raises(sqlllm.CallError, match=re.escape(message)):
            db.execute(f"SELECT {call} FROM t").fetchall()
    with pytest.raises(duckdb.BinderException, match="DISTINCT aggregate, ORDER BY"):
        db.execute("SELECT ai.agg(DISTINCT x, 'i' ORDER BY k) FROM t")


def test_explain_counts_prompts(db: sqlllm.Connection, narrow: sqlllm.FakeModel) -> None:
    db.execute("CREATE TABLE r AS SELECT i % 3 AS g, 'row number ' || i AS x FROM range(200) t(i)")
    query = "SELECT g, ai.agg(x, 'sum up', model := 'narrow', max_tokens := 40) FROM r GROUP BY g"
    parts, _ = db.explain(query).calls
    assert narrow.inputs == []
    assert parts.call.startswith("ai.agg(x, 'sum up'")
    assert (parts.rows, parts.cached) == (3, 0)
    assert "at least one more a row" in parts.note
    db.execute(query).fetchall()
    assert narrow.batches == [parts.distinct, 3]
    assert db.explain(query).calls[0].cached == parts.distinct
    (depends,) = (
        c for c in db.explain("SELECT ai.agg(ai.complete(x), 'i') FROM r").calls if not c.rows
    )
    assert "depend on answers" in depends.note
