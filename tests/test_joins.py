"""Semantic joins that ask about likely pairs only."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import pytest

import sqlllm

NOUNS = "kettle teapot phone laptop bicycle helmet jacket lamp desk chair".split()  # noqa: SIM905
BRANDS = "Acme Globex Initech Umbrella Stark Wayne".split()  # noqa: SIM905
RIGHT = [f"{brand} {noun} mini" for brand in BRANDS for noun in NOUNS]
LEFT = [f"{b.upper()} {n}s, mini edition" for b in BRANDS for n in NOUNS]
NUMBER = {text: i for texts in (LEFT, RIGHT) for i, text in enumerate(texts)}
JOIN = "ON ai.match(a.x, b.y, 'name the same product', strategy := '{}')"

Db = tuple[sqlllm.Connection, sqlllm.FakeModel]


def answer(task: sqlllm.Task, text: str) -> Any:
    if task.yes_no:
        a, b = text.removeprefix("Text A: ").split("\nText B: ")
        return NUMBER[a] == NUMBER[b]
    return RIGHT[NUMBER[text]] if RIGHT[NUMBER[text]] in task.labels else task.labels[0]


@pytest.fixture
def db() -> Iterator[Db]:
    fake = sqlllm.FakeModel(answer)
    with sqlllm.connect(models={"fake": fake}, model="fake") as con:
        con.execute("CREATE TABLE a AS SELECT unnest($1) AS x", [LEFT])
        con.execute("INSERT INTO a VALUES (NULL)")
        con.execute(
            "CREATE TABLE b AS SELECT unnest($1) AS y, 1 AS k UNION ALL SELECT NULL, 1", [RIGHT]
        )
        yield con, fake


@pytest.mark.parametrize(
    ("strategy", "most"), [("exact", 60 * 60), ("blocking", 16 * 64 + 60), ("classify", 2 * 60)]
)
def test_all_matches_with_fewer_questions(db: Db, strategy: str, most: int) -> None:
    con, fake = db
    rows = con.execute(f"SELECT x, y FROM a JOIN b {JOIN.format(strategy)}").fetchall()
    assert sorted(rows) == sorted(zip(LEFT, RIGHT, strict=True))
    assert len(fake.inputs) <= most
    fake.inputs.clear()
    rows = con.execute(f"SELECT x, y FROM a JOIN b {JOIN.format(strategy)}").fetchall()
    assert len(rows) == len(LEFT)
    assert fake.inputs == []  # the same pairs: what is likely doesn't depend on the order of rows


def test_conditions_limit_and_star(db: Db) -> None:
    con, fake = db
    rows = con.execute(
        f"SELECT * FROM a JOIN b {JOIN.format('classify')} "
        "WHERE y LIKE 'Acme%' AND k = 1 ORDER BY x LIMIT 3"
    ).fetchall()
    assert rows == [(LEFT[i], RIGHT[i], 1) for i in sorted(range(10), key=lambda i: LEFT[i])[:3]]
    assert len(fake.inputs) <= 60 + 10  # labels are those of Acme, and few pairs suffice
    for star, names in (
        ("*", "xyk"), ("* EXCLUDE (k)", "xy"), ("b.*, a.*", "ykx"), ("* REPLACE (9 AS k)", "xyk")
    ):  # fmt: skip
        found = con.execute(f"SELECT {star} FROM a JOIN b {JOIN.format('classify')}")
        assert [column[0] for column in found.description] == list(names)
        assert len(found.fetchall()) == 60
    query = f"SELECT count(*) FROM a JOIN b {JOIN.format('classify')}".replace(":=", "=>")
    assert con.explain(query).fired == ("candidates", "gather")
    assert con.execute(
        f"SELECT count(*) FROM a LEFT JOIN b {JOIN.format('classify')} AND k = 2"
    ).fetchone() == (61,)


def test_more_is_asked_until_the_sample_keeps_its_recall(db: Db) -> None:
    """A relation that embeddings know nothing of: most pairs must be asked."""
    con, fake = db
    fake.fn = lambda task, text: zlib.crc32(text.encode()) % 7 == 0
    exact = con.execute("SELECT x, y FROM a, b WHERE ai.match(x, y, 'q')").fetchall()
    query = "SELECT x, y FROM a, b WHERE ai.match(x, y, 'q', strategy := 'blocking', recall := {})"
    for recall in (0.5, 0.9, 1.0):
        likely = con.execute(query.format(recall)).fetchall()
        assert set(likely) <= set(exact)
        assert len(likely) >= 0.8 * recall * len(exact)
    assert sorted(con.execute(query.format(1)).fetchall()) == sorted(exact)


def test_what_may_be_missed_is_said_and_errors(db: Db) -> None:
    con, _ = db
    explained = str(con.explain(f"SELECT 1 FROM a JOIN b {JOIN.format('blocking')}"))
    assert "may miss pairs that are far apart; recall 0.95 on a sample" in explained
    explained = str(con.explain(f"SELECT 1 FROM a JOIN b {JOIN.format('classify')}"))
    assert "may miss all matches of a left text but one" in explained
    explained = str(con.explain(f"SELECT 1 FROM a LEFT JOIN b {JOIN.format('classify')}"))
    assert "needs an inner join of two tables: every pair is asked" in explained
    with pytest.raises(Exception, match="the relation is empty"):
        con.execute("SELECT ai.match('a', 'b', ' ')")
    for strategy in ("nearest", "CLASSIFY"):  # which would be followed as blocking
        with pytest.raises(Exception, match="strategy must be 'exact', 'blocking' or 'classify'"):
            con.execute(f"SELECT 1 FROM a JOIN b {JOIN.format(strategy)}")
    query = "SELECT 1 FROM a, b WHERE ai.match(x, y, 'q', strategy := 'blocking', recall := {})"
    for recall in ("2", "0", "'high'"):
        with pytest.raises(sqlllm.CallError, match="recall must be above 0 and at most 1"):
            con.execute(query.format(recall))
    con.execute("CREATE TABLE many AS SELECT 'text ' || i AS y FROM range(1001) r(i)")
    with pytest.raises(sqlllm.CallError, match="at most 1000 texts, not 1001"):
        con.execute("SELECT 1 FROM a, many AS b WHERE ai.match(x, y, 'q', strategy := 'classify')")
