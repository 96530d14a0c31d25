"""What groups of rows begin with is read once, and the answers stay the same."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import ENGINES, collect, save
from watched import Watched

import sqlllm
from sqlllm.engine.kept import begin
from sqlllm.engine.prefixes import Group, groups
from sqlllm.models.causal import CausalModel
from sqlllm.runtime.answers import ASKED

LEFT = ["a blue lamp", "a table of oak, two metres long", "a blue lamp, old"]
RIGHT = ["lamp", "oak table", "", "chair"]
PAIRS = [f"Text A: {a}\nText B: {b}" for b in RIGHT for a in LEFT] + ["another", "Text"]
TASKS = [
    sqlllm.Task("choose", labels=("bug", "bug report", "b")),
    sqlllm.Task("choose", labels=("yes", "no"), instruction="Good?"),
    sqlllm.Task("choose", labels=("yes", "no"), instruction="Good?", text_first=True),
    sqlllm.Task("complete", system="be brief", max_tokens=8),
    sqlllm.Task("complete", max_tokens=6, temperature=1.0, seed=3),
]


@given(
    st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), max_size=9),
    st.integers(1, 3),
)
def test_groups_are_of_rows_that_begin_alike_and_save_tokens(
    rows: list[list[int]], least: int
) -> None:
    bodies = dict(enumerate(rows))
    found = groups(bodies, least)
    grouped = [row for group in found for row in group.rows]
    assert len(grouped) == len(set(grouped))
    for group in found:
        assert len(group.rows) > 1
        assert len(group.prefix) >= least
        for row in group.rows:
            assert tuple(bodies[row][: len(group.prefix)]) == group.prefix
            assert len(bodies[row]) > len(group.prefix)  # it keeps a token of its own
    prefixes = {tuple(row[:size]) for row in rows for size in range(least, len(row))}
    for prefix in prefixes:  # no single group would save more
        alike = [row for row in rows if tuple(row[: len(prefix)]) == prefix < tuple(row)]
        assert sum(g.saved for g in found) >= (len(alike) - 1) * len(prefix)
    assert bool(found) == any(
        sum(tuple(row[: len(prefix)]) == prefix < tuple(row) for row in rows) > 1
        for prefix in prefixes
    )


def test_groups_within_groups() -> None:
    """Rows that share 20 tokens, within those that share 9, within what all share."""
    rows = {
        at: [7, *[1] * 8, *([2] * 11 if at < 4 else [at + 10]), 90 + at, 4] for at in range(8)
    } | {8: [7, 5, 5, 5, 5, 5, 5, 5, 5, 5]}
    assert groups(rows) == [
        Group((0, 1, 2, 3), (7, *[1] * 8, *[2] * 11)),
        Group((4, 5, 6, 7), (7, *[1] * 8)),
    ]


def check(task: sqlllm.Task, got: Any, right: Any) -> None:
    if task.kind == "complete":
        assert got == right
    else:
        np.testing.assert_allclose(got, right, atol=1e-4)


def check_pairs(model: CausalModel, task: sqlllm.Task) -> None:
    """All together, and each alone, which shares nothing."""
    together = collect(model.answer(task, PAIRS))
    assert sorted(together) == list(range(len(PAIRS)))
    for row, text in enumerate(PAIRS):
        (alone,) = collect(model.answer(task, [text])).values()
        check(task, together[row], alone)


@pytest.mark.parametrize("kind", ENGINES)
def test_answers_are_those_of_rows_alone(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CausalModel(save(kind, tmp_path), dtype="float32")
    assert model.note == ""  # it runs in the engine
    for task in TASKS:
        read: list[int] = []
        monkeypatch.setattr(
            "sqlllm.models.reading.begin", lambda *a, of=read: of.append(len(a[2])) or begin(*a)
        )
        check_pairs(model, task)
        assert read == [3]  # the left texts


@pytest.fixture
def llama(tmp_path: Path) -> CausalModel:
    return CausalModel(save("llama", tmp_path, max_position_embeddings=2048), dtype="float32")


def test_a_join_reads_each_left_text_once(
    llama: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(llama, monkeypatch)
    left = [f"{i} " + "word " * 20 for i in range(12)]
    with sqlllm.connect(models={"tiny": llama}, model="tiny", cache="off") as db:
        db.execute("CREATE TABLE a AS SELECT unnest($1) AS x", [left])
        db.execute("CREATE TABLE b AS SELECT 'right ' || i AS y FROM range(25) r(i)")
        db.execute("SELECT ai.match('x', 'y', 'name the same')")
        watched.read = 0
        db.execute("SELECT count(*) FROM a JOIN b ON ai.match(x, y, 'name the same')").fetchall()
        ((tokens,),) = db.execute(
            "SELECT sum(prompt_tokens) FROM ai.usage WHERE this_session AND sent = 300"
        ).fetchall()
    texts, pairs = sum(map(len, left)), 12 * 25
    right = pairs * (len("\nText B: right 24") + len("<|im_end|>\n<|im_start|>assistant\nAnswer:"))
    assert texts < watched.read < texts + right + 1000  # and the question, and "N/A"
    assert tokens > 25 * texts  # what was asked, however it was read


@pytest.mark.parametrize("fails", range(1, 7))
@pytest.mark.parametrize("task", TASKS[1:4], ids=["question", "text", "complete"])
def test_when_memory_runs_out_answers_stay_the_same(
    llama: CausalModel, monkeypatch: pytest.MonkeyPatch, task: sqlllm.Task, fails: int
) -> None:
    """At any pass: of the head, the beginnings, "N/A", the rows behind them."""
    right = collect(llama.answer(task, PAIRS))
    llama._engine._prefixes.clear()  # type: ignore[union-attr]
    watched = Watched(llama, monkeypatch)
    watched.fails = {fails}
    got = collect(llama.answer(task, PAIRS))
    assert watched.passes > fails
    for row, answer in right.items():
        check(task, got[row], answer)


def test_a_single_text_has_the_room_of_what_other_tasks_begin_with(
    llama: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = collect(llama.answer(TASKS[3], ["one"]))
    llama._engine.prefix((1, 2, 3))  # type: ignore[union-attr]
    watched = Watched(llama, monkeypatch)
    watched.fails = {1}
    assert collect(llama.answer(TASKS[3], ["one"])) == right
    assert watched.passes > 1


def test_little_room_means_smaller_parts(
    llama: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"{i} " + "word " * 20 + end for i in range(6) for end in ("good", "bad", "so so")]
    right = collect(llama.answer(TASKS[1], texts))
    engine: Any = llama._engine
    for tokens in (250, 120, 0):  # of two beginnings, of one, of none
        monkeypatch.setattr(
            "sqlllm.engine.kept.free_bytes", lambda _, n=tokens: 4 * n * engine.token_bytes
        )
        watched = Watched(llama, monkeypatch)
        got = collect(llama.answer(TASKS[1], texts))
        assert (watched.read < 1500) == (tokens > 0)
        assert tokens or watched.passes < 9  # not group by group
        for row, odds in right.items():
            np.testing.assert_allclose(got[row], odds, atol=1e-5)


def test_beginnings_are_read_as_far_as_there_is_room(llama: CausalModel) -> None:
    engine: Any = llama._engine
    engine.budget.tokens = 20
    beginnings = {key: [*range(key, key + 10)] for key in range(8)}
    found = list(begin(engine, (1, 2), beginnings, room=45))
    assert [len(begun) for begun in found] == [2, 2]


def test_a_text_too_long_beside_groups_is_told_once(
    llama: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = llama._engine
    monkeypatch.setattr("sqlllm.engine.kept.free_bytes", lambda _: 240 * engine.token_bytes)
    found = list(llama.answer(TASKS[1], ["x" * 3000, *PAIRS]))  # of room for one beginning
    assert [row for batch in found for row in batch.errors] == [0]
    assert sorted(collect(found)) == list(range(1, 1 + len(PAIRS)))


def test_a_model_outside_the_engine_reads_rows_whole(tmp_path: Path) -> None:
    model = CausalModel(save("bloom", tmp_path), dtype="float32")
    for task in TASKS[1:4]:
        check_pairs(model, task)


def test_of_many_texts_those_that_begin_alike_are_asked_together(fake: sqlllm.FakeModel) -> None:
    texts = [f"{i % 3}{'-' * 40} text {i}" for i in range(ASKED + 100)]
    random.Random(0).shuffle(texts)
    others = [f"text {i}" for i in range(ASKED + 100)]  # all begin in ways of their own
    with sqlllm.connect(models={"fake": fake}, model="fake", cache="off") as db:
        query = "SELECT x, ai.complete(x) FROM (SELECT unnest($1) AS x)"
        for given in (texts, others):
            rows = db.execute(query, [given]).fetchall()
            assert rows == [(text, text.upper()) for text in given]
    assert fake.batches == [ASKED, 100] * 2
    asked = fake.inputs[: len(texts)]
    assert sorted(asked) == sorted(texts)
    assert sum(a[0] != b[0] for a, b in pairwise(asked)) == 2
    assert asked[0] == texts[0]
    assert fake.inputs[len(texts) :] == others
