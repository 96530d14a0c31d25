"""Generated queries give the same rows with and without rewriting, and send no more inputs."""

from __future__ import annotations

import os
import random
from collections import Counter

import duckdb
import pytest
from both import Both

import sqlllm

SCALE = int(os.environ.get("SQLLLM_QUERIES", "1"))  # 3: 3,600 queries and 1,200 shapes
QUERIES, SHAPES = 120 * SCALE, 100 * SCALE


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
    windowed = "ai.agg(x, 'q' ORDER BY id) OVER (PARTITION BY k)"
    if duckdb.__version__ < "2":  # its macros take no windows
        windowed = "x"
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
            f"SELECT k, ai.agg({call}, 'q') AS c FROM t {where} GROUP BY k ORDER BY k {limit}",
            f"SELECT k, ai.agg(DISTINCT {text}, 'q', max_tokens := 9 ORDER BY {text} DESC) FILTER "
            f"(WHERE id > 1) AS c, count(*) AS n FROM t {where} GROUP BY k ORDER BY k {limit}",
            f"SELECT id, {windowed} AS c, {call} AS d FROM t {where} ORDER BY id {limit}",
            f"SELECT k, ai.classify(ai.agg({text}, 'q'), ['bug', 'good']) AS c, "
            f"max({call}) FILTER (WHERE id > 1) AS d FROM t {where} GROUP BY k "
            "HAVING ai.agg(x, 'r') LIKE '%BUG%' AND count(*) > 1 ORDER BY k",
            f"SELECT y, ai.complete(y) AS z FROM (SELECT k, ai.agg({text}, 'q') AS y FROM t "
            f"{where} GROUP BY k) ORDER BY y {limit}",
            f"WITH c AS (SELECT k, ai.agg({call}, 'q') AS y, count(*) AS n FROM t {where} "
            "GROUP BY k) SELECT k, n FROM c WHERE n > 1 ORDER BY k",
            f"SELECT id, ai.complete(x) AS y FROM t WHERE k IN (SELECT k FROM t {where} GROUP BY k "
            "HAVING ai.agg(x, 'q') LIKE '%BUG%') ORDER BY id",
            f"SELECT grouping(k) AS g, k, max({call}) AS c FROM t {where} GROUP BY ROLLUP (k) "
            "ORDER BY g, k",
        ]
    )


@pytest.mark.parametrize("seed", range(4))
def test_generated_shapes_give_the_same_rows_with_fewer_calls(both: Both, seed: int) -> None:
    draw = random.Random(100 + seed)
    fired: Counter[str] = Counter()
    for _ in range(SHAPES):
        query = generated_shape(draw)
        rows, names, sent, ran = both.planned(query)
        fired.update(ran.fired)
        plain, plain_names, plain_sent = both.run(both.off, query)
        assert names == plain_names, query
        assert rows == plain, query
        assert sent <= plain_sent, query
        both.on._con.execute(ran.sql)  # DuckDB takes what was made of it
    assert fired["gather"] > 0.4 * SHAPES


@pytest.mark.parametrize("seed", range(10))
def test_generated_queries_give_the_same_rows_with_fewer_calls(both: Both, seed: int) -> None:
    draw = random.Random(seed)
    fired: Counter[str] = Counter()
    for _ in range(QUERIES):
        query, bare, total = generated(draw)
        rows, names, sent, ran = both.planned(query)
        fired.update(ran.fired)
        plain, plain_names, plain_sent = both.run(both.off, query)
        assert names == plain_names, query
        assert len(rows) == len(plain), query
        if total or query == bare:
            assert Counter(rows) == Counter(plain), query
            assert not total or rows == plain, query
        elif "OVER" not in query:
            every, _, _ = both.run(both.off, bare)
            assert not Counter(rows) - Counter(every), query
        assert sent <= plain_sent, query
    assert fired["after_limit"] > QUERIES / 40
    assert fired["early_stop"] > QUERIES / 40


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
