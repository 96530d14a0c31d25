"""The text before the question: the same answers, whether texts were read for others or not."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import ENGINES, by_transformers, collect, reference, save
from watched import Watched

import sqlllm
from sqlllm.engine.engine import Engine
from sqlllm.engine.prompt import encode, prompt_of
from sqlllm.models.causal import CausalModel

TEXTS = ["some longer text", "a", "", "zzz " * 20, "b" * 33]
QUESTIONS = [
    sqlllm.Task("choose", labels=("bug", "bug report", "b"), text_first=True),
    sqlllm.Task("choose", labels=("yes", "no"), instruction="Good?", text_first=True),
    sqlllm.Task("complete", system="be brief", max_tokens=8, text_first=True),
]


@pytest.fixture(scope="module", params=ENGINES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(tiny: Path) -> CausalModel:
    made = CausalModel(tiny, dtype="float32")
    assert made.note == ""  # it runs in the engine
    return made


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("first"))


def check(model: CausalModel, plain: Any, task: sqlllm.Task, got: dict[int, Any]) -> None:
    neutral = by_transformers(model, plain, task, "N/A") if task.kind == "choose" else None
    assert sorted(got) == list(range(len(TEXTS)))
    for row, text in enumerate(TEXTS):
        right = by_transformers(model, plain, task, text)
        if neutral is None:
            assert got[row] == right
        else:
            np.testing.assert_allclose(got[row], (right - neutral).softmax(-1).numpy(), atol=1e-4)


def test_answers_are_those_of_whole_prompts_alone_and_together(
    model: CausalModel, tiny: Path
) -> None:
    plain = reference(tiny)
    alone = [collect(model.answer(task, TEXTS)) for task in QUESTIONS]
    with closing(model.blocks(TEXTS)) as sizes:
        assert next(sizes) == len(TEXTS)
        together = [collect(model.answer(task, TEXTS)) for task in QUESTIONS]
        some = [collect(model.answer(task, TEXTS[1:4])) for task in QUESTIONS]
    for task, *both in zip(QUESTIONS, alone, together, strict=True):
        for got in both:
            check(model, plain, task, got)
    for task, got, all_of_them in zip(QUESTIONS, some, together, strict=True):
        for row, answer in got.items():
            if task.kind == "complete":
                assert answer == all_of_them[row + 1]
            else:
                np.testing.assert_allclose(answer, all_of_them[row + 1], atol=1e-5)


def test_another_query_that_puts_its_texts_there_meanwhile(llama: Path) -> None:
    """Rows were read behind what the other's texts begin with, where their own had been."""
    model = CausalModel(llama, dtype="float32")
    engine = model._engine
    assert isinstance(engine, Engine)
    expected = collect(model.answer(QUESTIONS[1], TEXTS))
    other = tuple(encode(model._tokenizer, "what other texts begin with"))

    class Meanwhile(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            engine.texts._add(other, {})
            return super().get(key, default)

    with closing(model.blocks(TEXTS)) as sizes:
        next(sizes)
        collect(model.answer(QUESTIONS[0], TEXTS))
        engine.texts._there = Meanwhile(engine.texts._there)
        for row, odds in collect(model.answer(QUESTIONS[1], TEXTS)).items():
            np.testing.assert_allclose(odds, expected[row], atol=1e-5)


def test_texts_that_begin_otherwise_are_read_behind_what_they_begin_with(llama: Path) -> None:
    model = CausalModel(llama, dtype="float32")
    alike, others = ["the same: a", "the same: bb"], ["another", "the same: a"]
    expected = collect(model.answer(QUESTIONS[1], others))
    with closing(model.blocks(alike)) as sizes:
        next(sizes)
        collect(model.answer(QUESTIONS[1], alike))
        for row, odds in collect(model.answer(QUESTIONS[1], others)).items():
            np.testing.assert_allclose(odds, expected[row], atol=1e-5)


def test_queries_side_by_side_keep_texts_behind_one_beginning(llama: Path) -> None:
    engine = CausalModel(llama, dtype="float32")._engine
    assert isinstance(engine, Engine)
    kept, head = engine.texts, (1, 2, 3)
    longer, other = {0: [4, 5, 6], 1: [4, 5, 7]}, {0: [4, 5, 8], 1: [9]}
    with kept.held():
        engine.budget.tokens = 1  # of a pass
        reading = kept.begin(head, longer)
        assert [len(next(reading).begun) for _ in range(2)] == [0, 1]
        list(kept.begin(head, other))  # meanwhile
        list(reading)
        for texts in ({0: other[0]}, longer):
            *_, made = kept.begin(head, texts)
            for row, text in texts.items():
                assert len(made.head) + made.begun[row].length == len(head) + len(text)


def test_a_text_is_read_once(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(llama, dtype="float32")
    texts = [f"{i} " + "word " * 30 for i in range(20)]
    count = sum(model.count_tokens(texts))
    head, tail = (
        len(part) for q in QUESTIONS[1:2] for p in [prompt_of(model._tokenizer, q)]
        for part in (p.head, p.tail)
    )  # fmt: skip
    question, neutral = len(texts) * tail, len("N/A") + tail + 1 + 4 * len(texts)
    watched = Watched(model, monkeypatch)
    with closing(model.blocks(texts)) as sizes:
        next(sizes)
        first = collect(model.answer(QUESTIONS[1], texts))
        assert count + question <= watched.read <= head + count + question + 2 * neutral
        watched.read = 0
        again = collect(model.answer(QUESTIONS[1], texts[::2]))
        assert question / 2 <= watched.read <= question / 2 + neutral
        watched.read = 0
        collect(model.answer(QUESTIONS[1], ["other texts", *texts[:3]]))
        assert watched.read < 3 * count / 20
    assert model._engine.texts is not None
    assert not model._engine.texts.wanted
    assert not model._engine.texts.clear()  # nothing is kept
    for row, odds in again.items():
        np.testing.assert_allclose(odds, first[2 * row], atol=1e-5)


@pytest.mark.parametrize("fails", range(1, 6))
def test_when_memory_runs_out_answers_stay_the_same(
    llama: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """At any pass: of the head, the texts, "N/A", the question behind them, its labels."""
    model = CausalModel(llama, dtype="float32")
    texts = ["some text", "any text!", "more text", "a text too"]
    right = [collect(model.answer(task, texts)) for task in QUESTIONS]
    watched = Watched(model, monkeypatch)
    for task, alone in zip(QUESTIONS, right, strict=True):
        model._engine._prefixes.clear()  # type: ignore[union-attr]
        with closing(model.blocks(texts)) as sizes:
            next(sizes)
            watched.passes, watched.fails = 0, {fails}
            got = collect(model.answer(task, texts))
        assert watched.passes > fails
        for row, answer in alone.items():
            if task.kind == "complete":
                assert got[row] == answer
            else:
                np.testing.assert_allclose(got[row], answer, atol=1e-5)


def test_blocks_follow_free_memory(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CausalModel(llama, dtype="float32")
    engine: Any = model._engine
    free = 40 * engine.token_bytes  # a quarter of it is for texts
    monkeypatch.setattr("sqlllm.engine.kept.free_bytes", lambda _: free)
    texts = ["abcd", "efgh", "ijkl", "m" * 40, "n"]
    assert list(model.blocks(texts)) == [2, 1, 1, 1]
    with monkeypatch.context() as patch:  # 16 passes are kept at most
        patch.setattr("sqlllm.engine.kept.free_bytes", lambda _: 1 << 40)
        patch.setattr(engine.budget, "tokens", 1)
        assert list(model.blocks(texts)) == [3, 1, 1]
    got = {}
    at = 0
    for size in model.blocks(texts):
        block = collect(model.answer(QUESTIONS[1], texts[at : at + size]))
        assert engine.texts._tokens() <= 10
        got |= {at + row: odds for row, odds in block.items()}
        at += size
    for row, odds in collect(model.answer(QUESTIONS[1], texts)).items():
        np.testing.assert_allclose(got[row], odds, atol=1e-5)


def test_a_model_outside_the_engine_reads_the_text_first_too(tmp_path: Path) -> None:
    folder = save("bloom", tmp_path)
    model = CausalModel(folder, dtype="float32")
    assert model.note
    assert model.behind(QUESTIONS[0]) == []
    assert list(model.blocks(TEXTS)) == [len(TEXTS)]
    plain = reference(folder)
    for task in QUESTIONS[1:]:
        check(model, plain, task, collect(model.answer(task, TEXTS)))


QUERY = (
    "SELECT id, ai.score(x, 'Good?') AS a, ai.classify(x, ['bug', 'bug report', 'b']) AS b, "
    "CASE WHEN id % 2 = 0 THEN ai.complete(x, system := 'be brief', max_tokens := 6) END AS c, "
    "ai.try_extract(x, {'n': 'BOOLEAN'}).value AS d, "
    "ai.classify_labels(x, ['u', 'v'], threshold := 0.5) AS e FROM t ORDER BY id"
)


def rows_of(db: sqlllm.Connection, *, lazy: bool) -> list[Any]:
    found = (db.sql(QUERY) if lazy else db.execute(QUERY)).fetchall()
    return [(*row[:1], pytest.approx(row[1], abs=1e-4), *row[2:]) for row in found]


def make(db: sqlllm.Connection) -> None:
    db.execute(
        "CREATE TABLE t AS SELECT i AS id, CASE i WHEN 3 THEN NULL WHEN 5 THEN '' "
        "ELSE 'text ' || i % 11 || repeat(' word', i) END AS x FROM range(14) r(i)"
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_a_query_reads_texts_once_and_its_rows_are_the_same(
    llama: Path, lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = CausalModel(llama, dtype="float32")
    watched = Watched(model, monkeypatch)
    given: dict[str, Any] = {"models": {"tiny": model}, "model": "tiny", "cache": "off"}
    with sqlllm.connect(text_first=True, rewrite=False, **given) as db:
        make(db)
        apart, each = rows_of(db, lazy=False), watched.read
    watched.read = 0
    with sqlllm.connect(text_first=True, **given) as db:
        make(db)
        assert rows_of(db, lazy=lazy) == apart
        usage = db.execute(
            "SELECT function, rows, sent, errors FROM ai.usage WHERE this_session ORDER BY 1"
        ).fetchall()
        assert watched.read < 0.8 * each
    counts = {function: (rows, sent) for function, rows, sent, _ in usage}
    assert counts["score"] == counts["classify"] == (14, 13)  # one text is NULL
    assert counts["complete"] == (7, 7)
    assert not any(errors for function, _, _, errors in usage if function != "extract")


class Keeping(sqlllm.FakeModel):
    """Two texts at a time."""

    def behind(self, task: sqlllm.Task) -> list[int]:
        return [1] if task.asks else []

    def blocks(self, inputs: Sequence[str]) -> Generator[int, None, None]:
        yield from (len(inputs[i : i + 2]) for i in range(0, len(inputs), 2))


def answer(task: sqlllm.Task, text: str) -> Any:
    return len(text) % 2 == 0 if task.yes_no else task.labels[0] if task.labels else text.upper()


@pytest.fixture
def keeping() -> Iterator[tuple[sqlllm.Connection, Keeping]]:
    fake = Keeping(answer, fingerprint="keeping")
    with sqlllm.connect(models={"fake": fake}, model="fake", text_first=True) as db:
        db.execute("CREATE TABLE t AS SELECT i AS id, 'text ' || i AS x FROM range(5) r(i)")
        yield db, fake


def test_block_by_block_every_question_once(keeping: tuple[sqlllm.Connection, Keeping]) -> None:
    db, fake = keeping
    query = "SELECT ai.filter(x, 'q'), ai.classify(x, ['a', 'b']), ai.complete(x) FROM t"
    assert len(db.execute(query).fetchall()) == 5
    texts = [f"text {i}" for i in range(5)]
    blocks = [texts[:2], texts[:2], texts[2:4], texts[2:4], texts[4:], texts[4:], texts]
    assert fake.inputs == [text for block in blocks for text in block]
    assert [task.text_first for task in fake.tasks] == [True] * 6 + [False]  # nothing is asked
    fake.inputs.clear()
    db.execute(query).fetchall()
    assert fake.inputs == []
    query = "SELECT ai.filter(x, 'q'), ai.score(x, 'p') FROM t"  # the first is cached
    db.execute(query).fetchall()
    assert (fake.inputs, fake.batches[-1]) == (texts, 5)


def test_errors_and_budgets_in_blocks(keeping: tuple[sqlllm.Connection, Keeping]) -> None:
    db, fake = keeping

    def fails(task: sqlllm.Task, text: str) -> Any:
        if text == "text 3" and task.instruction == "p":
            raise sqlllm.ModelError("no idea")
        return answer(task, text)

    fake.fn = fails
    query = "SELECT ai.filter(x, 'q'), ai.try_filter(x, 'p') FROM t ORDER BY id"
    found = db.execute(query).fetchall()
    assert [row[1]["error"] for row in found] == [None, None, None, "no idea", None]
    assert len(fake.inputs) == 10
    with pytest.raises(sqlllm.ModelError, match="no idea"):
        db.execute("SELECT ai.filter(x, 'r'), ai.filter(x, 'p') FROM t").fetchall()
    given: dict[str, Any] = {"models": {"fake": fake}, "model": "fake", "cache": "off"}
    with sqlllm.connect(**given, text_first=True, max_calls=7) as other:
        other.execute("CREATE TABLE t AS SELECT 'u' || i AS x FROM range(5) r(i)")
        before = len(fake.inputs)
        with pytest.raises(sqlllm.BudgetExceeded):
            other.execute("SELECT ai.filter(x, 's'), ai.score(x, 't') FROM t")
    assert len(fake.inputs) == before + 7


def test_keys_change_where_answers_do(keeping: tuple[sqlllm.Connection, Keeping]) -> None:
    db, fake = keeping
    question = sqlllm.Task("choose", labels=("yes", "no"), instruction="Is it good?")
    assert question.key.hex() == "c86177a45c1491e4067120e145c5d6b2"  # as in caches that are older
    assert replace(question, text_first=True).key != question.key
    query = "SELECT ai.filter(x, 'q') FROM t"
    db.execute(query).fetchall()
    with sqlllm.connect(models={"fake": fake}, model="fake") as other:
        other.execute("CREATE TABLE t AS SELECT 'text ' || i AS x FROM range(5) r(i)")
        other.execute(query).fetchall()
        assert [task.text_first for task in fake.tasks] == [True, False]
        by_similarity = "SELECT ai.classify('lamp', ['a', 'b'], model := 'minilm')"
        other.execute(by_similarity).fetchall()
        db.execute(by_similarity).fetchall()
        cached = "SELECT sum(cached) FROM ai.usage WHERE this_session AND model = 'minilm'"
        assert db.execute(cached).fetchall() == [(1,)]


def test_explain_says_what_it_saves(llama: Path) -> None:
    given: dict[str, Any] = {"models": {"tiny": f"hf:{llama}"}, "model": "tiny"}
    query = "SELECT ai.score(x, 'a'), ai.filter(x, 'b'), ai.complete(x) FROM t"
    text, short = "'word ' || i || repeat(' word', 40)", "'w' || i"

    def notes(x: str, *, asked: str = query, **settings: Any) -> list[str]:
        with sqlllm.connect(**given, **settings) as db:
            db.execute(f"CREATE TABLE t AS SELECT {x} AS x FROM range(10) r(i)")
            return [call.note for call in db.explain(asked).calls]

    tokens = 10 * (len("word 0") + 40 * len(" word"))
    less = tokens - 2 * 10 * len("\n\nQuestion: a")
    about = "2 questions about the same texts"
    assert notes(text) == [
        f"text_first = true would read about {less:,} tokens less: {about}",
        "",
        "",
    ]
    assert notes(text, text_first=True) == [
        f"text_first reads about {less:,} tokens less: {about}", "", ""
    ]  # fmt: skip
    assert notes(short) == ["", "", ""]
    assert notes(short, text_first=True)[0].startswith("text_first reads about 240 tokens more")
    one = "SELECT ai.score(x, 'a') FROM t WHERE ai.filter(x, 'b')"  # one after the other
    assert not any("text_first" in note for note in notes(text, asked=one))
    labels = "SELECT ai.classify_labels(x, ['u', 'v']) FROM t"
    assert about in notes(text, asked=labels)[0]


def test_where_it_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert sqlllm.Settings.load().text_first is False
    (tmp_path / "sqlllm.toml").write_text("text_first = true\n")
    monkeypatch.setenv("SQLLLM_CONFIG", str(tmp_path / "sqlllm.toml"))
    assert sqlllm.Settings.load().text_first is True
    monkeypatch.setenv("SQLLLM_TEXT_FIRST", "False")
    assert sqlllm.Settings.load().text_first is False
    assert sqlllm.Settings.load(text_first=True).text_first is True
    monkeypatch.setenv("SQLLLM_TEXT_FIRST", "maybe")
    with pytest.raises(sqlllm.ConfigError, match="text_first must be true or false, not 'maybe'"):
        sqlllm.Settings.load()
