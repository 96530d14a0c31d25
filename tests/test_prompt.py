"""ai.prompt: values in a template, and what they have in common is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import collect, save

import sqlllm
from sqlllm.engine.engine import Engine
from sqlllm.models.causal import CausalModel
from sqlllm.task import Task


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("ai.prompt('{0} and {1}', x, y)", ["a{1} and 1", None, None, " and 4"]),
        ("ai.prompt('{1}{0}{1}', x, y)", ["1a{1}1", None, None, "44"]),
        ("ai.prompt('{x}/{y}', {x: x, y: y})", ["a{1}/1", None, None, "/4"]),
        ("ai.prompt('{y}', {x: x, y: y})", ["1", None, "3", "4"]),
        ("ai.prompt('only {0}', x)", ["only a{1}", "only b", None, "only "]),
        ("ai.prompt('{{0}} {\"k\": {}} {0}', y)", ['{0} {"k": {}} 1', None, '{0} {"k": {}} 3', '{0} {"k": {}} 4']),  # noqa: E501
        ("ai.prompt('no place', x)", ["no place"] * 4),
        ("ai.prompt(NULL, x)", [None] * 4),
        ("ai.prompt(CASE y WHEN 1 THEN 'one {0}' ELSE 'other {0}' END, x)", ["one a{1}", "other b", None, "other "]),  # noqa: E501
        ("ai_prompt('{0}{1}{2}{3}{4}{5}{6}{7}', 1, 2, 3, 4, 5, 6, 7, x)", ["1234567a{1}", "1234567b", None, "1234567"]),  # noqa: E501
    ],
)  # fmt: skip
def test_values_take_their_places(
    db: sqlllm.Connection, call: str, expected: list[str | None]
) -> None:
    rows = "(VALUES ('a{1}', 1), ('b', NULL), (NULL, 3), ('', 4)) t(x, y)"
    assert [row[0] for row in db.execute(f"SELECT {call} FROM {rows}").fetchall()] == expected
    assert db.execute(f"SELECT {call} FROM {rows} WHERE false").fetchall() == []


@pytest.mark.parametrize(
    "value",
    [
        "12.50::DECIMAL(9, 2)",
        "1234567890123456.78::DECIMAL(18, 2)",
        "0.1::FLOAT",
        "1e20::DOUBLE",
        "[1.50, 2.00]",
        "{'k': DATE '2026-01-01'}",
        "'{\"k\": [1]}'::JSON",
        "NULL",
    ],
)
def test_a_value_is_the_same_text_by_name_and_by_position(
    db: sqlllm.Connection, value: str
) -> None:
    query = "SELECT ai.prompt('{x}', {x: v}), ai.prompt('{0} {1}', v, ''), v::VARCHAR FROM"
    ((named, placed, text),) = db.execute(f"{query} (SELECT {value} AS v)").fetchall()
    assert named == text
    assert placed == (None if text is None else f"{text} ")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ai.prompt('{0} {1}', 'a')", "has {1}, but the last value is {0}"),
        ("ai.prompt('{name}', 'a')", "has {name}, but values by position are given"),
        ("ai.prompt('{0}', {x: 'a'})", "has {0}, but values by name are given"),
        ("ai.prompt('{lable}', {label: 'a'})", "did you mean `label`?"),
    ],
)
def test_places_without_a_value(db: sqlllm.Connection, call: str, message: str) -> None:
    with pytest.raises(sqlllm.CallError) as caught:
        db.execute(f"SELECT {call}")
    assert message in str(caught.value)


def test_more_values_than_there_are_places_for(db: sqlllm.Connection) -> None:
    values = ", ".join(map(str, range(9)))
    with pytest.raises(duckdb.BinderException, match=r"\nHint: ai\.prompt takes at most eight"):
        db.execute(f"SELECT ai.prompt('{{8}}', {values})")


@settings(max_examples=25)
@given(values=st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=8))
def test_values_are_never_read_as_a_template(values: list[tuple[str, str]]) -> None:
    values = [(a.replace("\0", ""), b.replace("\0", "")) for a, b in values]
    with sqlllm.connect() as db:
        db.execute("CREATE TABLE t (a VARCHAR, b VARCHAR)")
        db.executemany("INSERT INTO t VALUES (?, ?)", values)
        rows = db.execute("SELECT ai.prompt('<{0}|{1}>', a, b) FROM t").fetchall()
    assert [row[0] for row in rows] == [f"<{a}|{b}>" for a, b in values]


def test_what_a_template_repeats_is_read_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = CausalModel(save("llama", tmp_path), dtype="float32")
    read: list[int] = []
    before = Engine._forward

    def forward(self: Engine, ids: Any, step: Any) -> Any:
        read.append(len(ids))
        return before(self, ids, step)

    monkeypatch.setattr(Engine, "_forward", forward)
    fixed = "Tell whether the parcel of this customer has come by now, in a word: " * 4
    texts = [fixed + word for word in ("red", "green", "grey", "blue", "pink")]
    complete = Task("complete", max_tokens=4)
    choose = Task("choose", labels=("come", "not"))
    written, chosen = collect(model.complete(complete, texts)), collect(model.choose(choose, texts))
    assert 2 * len(fixed) < sum(read) < 5 * len(fixed)  # of bytes, in ten texts
    for row, text in enumerate(texts):
        assert collect(model.complete(complete, [text]))[0] == written[row]
        assert collect(model.choose(choose, [text]))[0] == pytest.approx(chosen[row], abs=1e-5)


def test_structs_that_are_null_in_a_whole_chunk() -> None:
    query = (
        "SELECT ai.prompt('{x}', CASE WHEN i < 3000 THEN {'x': i} END) AS p FROM range(10000) r(i)"
    )
    with sqlllm.connect() as db:
        assert db.execute(f"SELECT count(p), count(*) FROM ({query})").fetchall() == [(3000, 10000)]
        assert db.execute("SELECT ai.prompt('{x}', NULL)").fetchall() == [(None,)]
        assert db.execute("SELECT ai.prompt('plain', NULL)").fetchall() == [("plain",)]
