"""What holds for every function of the catalogue, asked of all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import sqlllm
from sqlllm.sql import Definition, definitions

CALLS = {
    "prompt": "ai.prompt('<{{0}}>', {x})",
    "complete": "ai.complete({x})",
    "extract": 'ai.extract({x}, \'{{"type": "object"}}\')',
    "classify": "ai.classify({x}, ['a', 'bug'])",
    "classify_scores": "ai.classify_scores({x}, ['a', 'bug'])",
    "classify_labels": "ai.classify_labels({x}, ['a', 'bug'])",
    "filter": "ai.filter({x}, 'is it good?')",
    "match": "ai.match({x}, 'b', 'mean the same')",
    "score": "ai.score({x}, 'is it good?')",
    "embed": "ai.embed({x})",
    "similarity": "ai.similarity({x}, 'b')",
    "sentiment": "ai.sentiment({x})",
    "moderate": "ai.moderate({x})",
    "translate": "ai.translate({x}, 'French')",
    "fix_grammar": "ai.fix_grammar({x})",
    "answer": "ai.answer('why?', {x})",
    "rerank": "ai.rerank('why?', {x})",
    "redact": "ai.redact({x}, entities := ['email', 'person'])",
    "summarize": "ai.summarize({x})",
    "split_text": "ai.split_text({x})",
    "count_tokens": "ai.count_tokens({x})",
}
"""A call of each function of one row's text."""

SCALARS = tuple(CALLS)
TRYING = tuple(name for name in CALLS if f"try_{name}" in {d.name for d in definitions()})
AGGREGATES = ("agg", "summarize_agg")  # their tests are in test_reduce.py
OTHERS = ("search", "rrf")  # of a table, and of numbers; in test_search.py
FREE = ("prompt", "count_tokens", "split_text")


def call(name: str, x: str) -> str:
    return CALLS[name].format(x=x)


def tried(name: str, x: str) -> str:
    return call(name, x).replace(f"ai.{name}(", f"ai.try_{name}(")


@pytest.fixture(params=["planned", "bare"])
def con(request: pytest.FixtureRequest, fake: sqlllm.FakeModel) -> Iterator[Any]:
    """A planned connection, and DuckDB's own with the functions installed."""
    models: dict[str, Any] = {"models": {"fake": fake}, "model": "fake", "embed_model": "fake"}
    if request.param == "planned":
        with sqlllm.connect(**models) as db:
            yield db
    else:
        import duckdb

        with duckdb.connect() as bare:
            yield sqlllm.install(bare, **models)


def column(con: Any, query: str, *parameters: Any) -> list[Any]:
    return [row[0] for row in con.execute(query, *parameters).fetchall()]


def test_no_function_is_left_out() -> None:
    public = {d.name for d in definitions() if d.public and d.arguments}
    aggregates = {*AGGREGATES, *(f"try_{name}" for name in AGGREGATES)}
    assert public == {*SCALARS, *(f"try_{name}" for name in TRYING), *aggregates, *OTHERS}
    assert set(SCALARS) - set(TRYING) == {"prompt"}


@pytest.mark.parametrize("name", SCALARS)
def test_null_empty_repeated_and_no_rows(con: Any, fake: sqlllm.FakeModel, name: str) -> None:
    rows = "(VALUES (1, 'b'), (2, NULL), (3, ''), (4, 'b')) t(i, x)"
    first, null, empty, again = column(con, f"SELECT {call(name, 'x')} FROM {rows} ORDER BY i")
    assert null is None
    assert first is not None
    assert empty is not None
    assert first == again
    assert not [text for text in fake.inputs if text is None]
    assert len(fake.inputs) == len(set(fake.inputs)) <= (0 if name in FREE else 3)
    assert column(con, f"SELECT {call(name, 'x')} FROM {rows} WHERE i > 9") == []
    assert column(con, f"SELECT {call(name, 'NULL')}") == [None]


@pytest.mark.parametrize("name", SCALARS)
def test_a_row_a_constant_a_number_and_a_long_text(con: Any, name: str) -> None:
    (one,) = column(con, f"SELECT {call(name, chr(39) + '7' + chr(39))}")
    assert one is not None
    assert column(con, f"SELECT {call(name, '7')}") == [one]  # cast to text
    assert column(con, f"SELECT {call(name, 'i')} FROM range(7, 8) t(i)") == [one]
    (long,) = column(con, f"SELECT {call(name, 'repeat($1, 20_000)')}", ["long "])  # 100 kB
    assert long is not None


@pytest.mark.parametrize("name", SCALARS)
def test_five_thousand_rows(con: Any, fake: sqlllm.FakeModel, name: str) -> None:
    text = "'text ' || (i % 7)"
    query = f"SELECT count({call(name, text)}), count(*) FROM range(5000) t(i)"
    assert con.execute(query).fetchall() == [(5000, 5000)]
    texts = [text for text in fake.inputs if text not in ("b",)]
    assert len(texts) == len(set(texts)) == (0 if name in FREE else 7)


@pytest.mark.parametrize("name", SCALARS)
def test_in_a_view_a_prepared_statement_and_two_threads(con: Any, name: str) -> None:
    expected = column(con, f"SELECT {call(name, 'x')} FROM (VALUES ('b')) t(x)")
    con.execute(f"CREATE VIEW v AS SELECT {call(name, 'x')} AS y FROM (VALUES ('b')) t(x)")
    assert column(con, "SELECT y FROM v") == expected
    assert column(con, f"SELECT {call(name, '$1')}", ["b"]) == expected
    found: list[list[Any]] = []

    def work(cursor: Any) -> None:
        found.append(column(cursor, f"SELECT {call(name, 'x')} FROM (VALUES ('b'), ('c')) t(x)"))

    threads = [threading.Thread(target=work, args=(con.cursor(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert found[0][:1] == expected


@pytest.mark.parametrize("name", SCALARS)
def test_wrong_names_and_types(con: Any, db: sqlllm.Connection, name: str) -> None:
    with pytest.raises(sqlllm.UnknownArgument, match="has no argument 'modle'"):
        db.execute(f"SELECT {call(name, 'x')[:-1]}, modle := 'fake') FROM (VALUES ('b')) t(x)")
    with pytest.raises(sqlllm.UnknownFunction, match="there is no function"):
        db.execute("SELECT " + call(name, "'b'").replace(f"ai.{name}", f"ai.{name}_"))
    if name != "prompt":
        with pytest.raises(sqlllm.UnknownArgument, match="without a name, not"):
            db.execute(f"SELECT {call(name, 'x')[:-1]}, 'fake') FROM (VALUES ('b')) t(x)")
    if name not in FREE and name != "similarity":
        wrong = call(name, "'b'")[:-1] + ", max_tokens := 'many')"
        with pytest.raises(Exception, match="max_tokens must be a whole number, not 'many'"):
            con.execute(f"SELECT {wrong}").fetchall()


@pytest.mark.parametrize("each", [d for d in definitions() if d.public], ids=lambda d: d.name)
def test_a_missing_argument_is_named(db: sqlllm.Connection, each: Definition) -> None:
    needed = [argument for argument, optional in each.arguments.items() if not optional]
    whole = f"ai.{each.name}({', '.join(needed)})"
    for count, missing in enumerate(needed):
        for opening in (f"ai.{each.name}(", f"ai_{each.name}("):
            with pytest.raises(sqlllm.CallError) as caught:
                db.execute(f"SELECT {opening}{', '.join(['x'] * count)}) FROM (VALUES ('b')) t(x)")
            assert str(caught.value) == (
                f"ai.{each.name} lacks the argument {missing!r}\nHint: write {whole}"
            )


def test_arguments_by_name_are_there(db: sqlllm.Connection) -> None:
    source = "FROM (VALUES ('b', 'good?')) t(x, q)"
    for given in ("text := x, question := q", "x, question => q", "question := q, text := x"):
        assert db.execute(f"SELECT ai.score({given}) IS NOT NULL {source}").fetchone() == (True,)
    with pytest.raises(sqlllm.CallError, match="lacks the argument 'text'"):
        db.execute(f"SELECT ai.score(question := q) {source}")


def test_tables_of_the_users_may_have_a_functions_name(db: sqlllm.Connection) -> None:
    db.execute("CREATE TABLE ai_filter(id INTEGER); CREATE TABLE IF NOT EXISTS ai_embed(x INTEGER)")
    db.execute("INSERT INTO ai_filter(id) VALUES (1); CREATE VIEW ai_match(y) AS FROM ai_filter")
    assert db.execute("SELECT y, ai_score('b', 'good?') IS NULL FROM ai_match").fetchall() == [
        (1, False)
    ]


@pytest.mark.parametrize("name", TRYING)
def test_try_tells_what_is_wrong_and_never_stops(con: Any, name: str) -> None:
    def answer(task: sqlllm.Task, text: str) -> Any:
        raise sqlllm.ModelError(f"can't read {text!r}")

    sound = column(con, f"SELECT {call(name, 'x')} FROM (VALUES ('b'), (NULL)) t(x)")
    rows = column(con, f"SELECT {tried(name, 'x')} FROM (VALUES ('b'), (NULL)) t(x)")
    assert rows == [{"value": value, "error": None} for value in sound]
    (row,) = column(
        con, f"SELECT {tried(name, 'x')[:-1]}, model := 'nope') FROM (VALUES ('b')) t(x)"
    )
    assert row == {"value": None, "error": "unknown model 'nope'"}
    if name in FREE:
        return
    broken = sqlllm.FakeModel(answer)
    with sqlllm.connect(models={"m": broken}, model="m", embed_model="m") as db:
        query = (
            f"SELECT {tried(name, 'x')} AS y FROM (VALUES (1, 'b'), (2, NULL)) t(i, x) ORDER BY i"
        )
        failed, null = column(db, query)
        assert failed["value"] is None
        assert "can't read" in failed["error"]
        assert null == {"value": None, "error": None}
        with pytest.raises(sqlllm.ModelError, match="can't read"):
            db.execute(query.replace("try_", "", 1)).fetchall()


@pytest.mark.parametrize("definition", definitions(), ids=lambda d: d.name)
def test_every_example_runs_and_what_it_returns_is_declared(
    con: Any, definition: Definition
) -> None:
    relation = con.sql(definition.example)
    assert len(relation.fetchall()) > 0 or definition.name in ("usage", "errors", "runs")
    if definition.arguments and definition.example.startswith(f"SELECT ai.{definition.name}("):
        whole = definition.example.endswith(")")
        kind = str(relation.types[0]).replace('"', "")
        assert not whole or kind == definition.returns.replace('"', "")
