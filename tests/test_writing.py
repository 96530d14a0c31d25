"""How the engine writes: batches, memory, grammars, sampling, guesses, and models it can't run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tiny import collect, reference, save

import sqlllm
from sqlllm.engine.engine import Engine
from sqlllm.engine.lookup import Lookup
from sqlllm.engine.prompt import completion_prompt, encode
from sqlllm.engine.slots import Slots
from sqlllm.models.causal import CausalModel

TEXTS = [f"{i}{'x' * (7 * i % 40)}{i}" for i in range(40)]  # none begin alike
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": ["string", "null"], "maxLength": 6},
        "kind": {"enum": ["bug", "bill", "other"]},
        "amounts": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99},
                    "maxItems": 2},
        "urgent": {"type": "boolean"},
    },
    "required": ["name", "kind", "amounts", "urgent"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("llama"), max_position_embeddings=2048)


@pytest.fixture
def model(folder: Path) -> CausalModel:
    return CausalModel(folder, dtype="float32")


def test_rows_take_the_places_of_those_that_finish(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = sqlllm.Task("complete", max_tokens=20)
    expected = collect(model.complete(task, TEXTS))
    engine = model._engine
    assert isinstance(engine, Engine)
    sizes = []
    read = engine.read

    def seen(slots: Slots, first: int, new: Any, kept: Any, head: Any = (), **asked: Any) -> Any:
        if not any(kept):  # rows that are new
            sizes.append((first, len(new)))
            assert len(new) == 1 or sum(map(len, new)) <= engine.budget.tokens
        return read(slots, first, new, kept, head, **asked)

    monkeypatch.setattr(engine, "read", seen)
    engine.budget.rows, engine.budget.tokens = 8, 120
    assert collect(model.complete(task, TEXTS)) == expected
    assert max(count for _, count in sizes) <= 8
    assert any(0 < first < 8 for first, _ in sizes)  # joined rows that were being written
    assert sum(count for _, count in sizes) == len(TEXTS)  # each is read once


@pytest.mark.parametrize("error", ["DefaultCPUAllocator: can't allocate memory", "CUDA"])
@pytest.mark.parametrize("kind", ["complete", "choose"])
def test_memory_that_runs_out_halves_the_batch(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch, error: str, kind: Any
) -> None:
    import torch

    labels = ("bug", "bill") if kind == "choose" else ()
    task = sqlllm.Task(kind, max_tokens=6, labels=labels)
    expected = collect(model.answer(task, TEXTS))
    engine = model._engine
    read = engine.read

    most = 6

    def scarce(slots: Slots, first: int, new: Any, kept: Any, head: Any = (), **asked: Any) -> Any:
        if slots.rows > most:
            raise torch.OutOfMemoryError("out") if error == "CUDA" else RuntimeError(error)
        return read(slots, first, new, kept, head, **asked)

    monkeypatch.setattr(engine, "read", scarce)
    got = collect(model.answer(task, TEXTS))
    assert set(got) == set(expected)
    for row in expected:
        assert (
            got[row] == pytest.approx(expected[row], abs=1e-5)
            if labels
            else got[row] == expected[row]
        )
    most = 0
    with pytest.raises(sqlllm.ModelError, match="a single text of") as caught:
        collect(model.answer(task, ["one"]))
    assert "smaller model" in str(caught.value)


def test_a_model_that_cannot_fit_says_how_much_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlllm.engine.memory as memory

    monkeypatch.setattr(memory, "free_bytes", lambda _: 10_000)
    needs = r"needs [\d.]+ kB for its weights in float32; 10.0 kB"
    with pytest.raises(sqlllm.ConfigError, match=needs):
        CausalModel(folder, dtype="float32")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 1 << 30)
    model = CausalModel(folder, dtype="float32")
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10_000)
    with pytest.raises(sqlllm.ModelError, match=r"one text needs [\d.]+ kB for keys and values"):
        collect(model.complete(sqlllm.Task("complete", max_tokens=400), ["a"]))


def test_all_answers_are_valid(folder: Path) -> None:
    """`SQLLLM_ANSWERS=10000 pytest` asks for more; here fewer, to be quick."""
    count = int(os.environ.get("SQLLLM_ANSWERS", "2000"))
    with sqlllm.connect(models={"tiny": f"hf:{folder}"}, model="tiny", cache="off") as db:
        rows = db.execute(
            "SELECT ai.extract('text ' || i, $1, max_tokens := 120, temperature := 3) "
            "FROM range($2) t(i)",
            [json.dumps(SCHEMA), count],
        ).fetchall()
    validator = jsonschema.Draft202012Validator(SCHEMA)
    answers = [json.loads(row[0]) for row in rows]
    for answer in answers:
        validator.validate(answer)
    assert len(answers) == count
    assert len({json.dumps(answer) for answer in answers}) > count / 10  # it did talk nonsense


def test_patterns_and_answers_that_are_cut(model: CausalModel) -> None:
    task = sqlllm.Task("complete", pattern=r"[A-F]{2}-[0-9]{4}", max_tokens=20, temperature=1.0)
    answers = collect(model.complete(task, TEXTS))
    assert len(answers) == len(TEXTS)
    assert all(re.fullmatch(task.pattern, answer) for answer in answers.values())
    for pattern in (task.pattern, "total"):
        short = sqlllm.Task("complete", pattern=pattern, max_tokens=3)
        batches = list(model.complete(short, ["a"]))
        (error,) = [e for batch in batches for e in batch.errors.values()]
        assert "cut at max_tokens=3 before it was text that matches" in str(error)
        assert not [row for batch in batches for row in batch.rows]
        assert sum(batch.completion_tokens for batch in batches) == 3


@pytest.mark.parametrize(
    ("pattern", "passes"), [("total: [01]", 1), ("total", 1), ("[01]: total", 1), ("[01]{3}", 3)]
)
def test_what_a_form_leaves_no_choice_about_takes_no_pass_of_its_own(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch, pattern: str, passes: int
) -> None:
    task = sqlllm.Task("complete", pattern=pattern, max_tokens=20)
    expected = collect(model.complete(task, ["a"]))  # what all rows begin with is then there
    made, forward = [], Engine._forward
    monkeypatch.setattr(Engine, "_forward", lambda *given: (made.append(1), forward(*given))[1])
    assert collect(model.complete(task, ["a"])) == expected
    assert re.fullmatch(pattern, expected[0])
    assert len(made) == passes


def test_a_tokenizer_with_more_tokens_than_the_model(tmp_path: Path) -> None:
    model = CausalModel(save("qwen2", tmp_path), dtype="float32")
    assert len(model._tokenizer) > model._model.get_output_embeddings().weight.shape[0]
    task = sqlllm.Task("complete", pattern="(ab|cd)e{1,3}", max_tokens=20)
    answers = collect(model.complete(task, ["a", "b"]))
    assert all(re.fullmatch(task.pattern, answers[row]) for row in (0, 1))


def test_forms_that_cannot_be_enforced_are_refused(model: CausalModel) -> None:
    with pytest.raises(sqlllm.CallError, match="the pattern can't be enforced"):
        list(model.complete(sqlllm.Task("complete", pattern="(?=a)b"), ["a"]))
    schema = '{"type": "object", "if": {"type": "object"}, "not": {"type": "object"}}'
    with pytest.raises(sqlllm.CallError, match="the schema can't be enforced"):
        list(model.extract(sqlllm.Task("extract", schema=schema), ["a"]))
    with pytest.raises(sqlllm.CallError, match="the schema allows anything"):
        sqlllm.Task("extract", schema='{"name": "VARCHAR"}')


def test_top_p_draws_from_the_most_probable(model: CausalModel) -> None:
    greedy = collect(model.complete(sqlllm.Task("complete", max_tokens=8), TEXTS))
    narrow = sqlllm.Task("complete", max_tokens=8, temperature=3.0, top_p=1e-6)
    wide = sqlllm.Task("complete", max_tokens=8, temperature=3.0)
    assert collect(model.complete(narrow, TEXTS)) == greedy
    assert collect(model.complete(wide, TEXTS)) != greedy
    for wrong in (0, 1.5):
        with pytest.raises(sqlllm.CallError, match="top_p must be above 0"):
            sqlllm.Task("complete", top_p=wrong)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("form", ["", "pattern"])
def test_guesses_change_nothing_but_the_number_of_passes(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch, temperature: float, form: str
) -> None:
    pattern = "(abcabc|abcx)+" if form else ""
    task = sqlllm.Task("complete", max_tokens=40, temperature=temperature, pattern=pattern, seed=3)
    texts = ["abcabcabcabc", "xyxyxyxyxy", "a b a b a b"]
    engine = model._engine
    assert isinstance(engine, Engine)
    engine.ridge = 1
    alone = [list(model.complete(task, [text])) for text in texts]
    engine.ridge = 64
    passes = []
    read = engine.read
    monkeypatch.setattr(engine, "read", lambda *a, **k: (passes.append(a[2]), read(*a, **k))[1])
    for text, expected in zip(texts, alone, strict=True):
        assert collect(model.complete(task, [text])) == collect(expected)
    assert any(len(tokens) > 1 for new in passes for tokens in new if len(new) == 1)


@pytest.mark.parametrize("pattern", ["", "[a-z]{3,9}"])
def test_an_architecture_that_the_engine_cannot_run(tmp_path: Path, pattern: str) -> None:
    import torch

    folder = save("bloom", tmp_path)
    model = CausalModel(folder, dtype="float32")
    assert model.note.startswith("runs by transformers' generate, without a shared prefix: it ")
    plain = reference(folder)
    task = sqlllm.Task("complete", max_tokens=9, pattern=pattern)
    got = collect(model.complete(task, TEXTS[:9]))
    prompt = completion_prompt(model._tokenizer, "")
    for row, text in enumerate(TEXTS[:9]):
        ids = torch.tensor([[*prompt.head, *encode(model._tokenizer, text), *prompt.tail]])
        out = plain.generate(ids, max_new_tokens=9, do_sample=False, pad_token_id=0,
                             attention_mask=torch.ones_like(ids))  # fmt: skip
        if pattern:
            assert re.fullmatch(pattern, got[row])
        else:
            assert got[row] == model._tokenizer.decode(
                out[0, ids.shape[1] :], skip_special_tokens=True
            )
    choose = sqlllm.Task("choose", labels=("bug", "bill", "b"))
    assert len(collect(model.choose(choose, TEXTS))) == len(TEXTS)
    with sqlllm.connect(models={"odd": f"hf:{folder}"}, model="odd") as db:
        assert "runs by transformers' generate" in str(db.explain("SELECT ai.complete('a')"))


def test_many_labels_are_scored_in_parts(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    labels = tuple(f"topic {i} of {i % 7}" for i in range(300))
    task = sqlllm.Task("choose", labels=labels)
    engine = model._engine
    assert isinstance(engine, Engine)
    monkeypatch.setattr(model, "window", 1 << 13)  # bytes are tokens here
    whole = collect(model.choose(task, TEXTS[:3]))
    assert set(whole) == {0, 1, 2}
    engine.budget.tokens = 64
    parts = collect(model.choose(task, TEXTS[:3]))
    for row, odds in whole.items():
        np.testing.assert_allclose(parts[row], odds, atol=1e-5)


def test_lookup_learns_how_far_to_guess() -> None:
    lookup = Lookup()
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2]
    assert lookup.guess(tokens, 9) == [3, 4, 5, 6]
    tokens += [3, 4, 5, 6, 7]
    assert lookup.guess(tokens, 9) == [8, 9, 1, 2, 3, 4, 5, 6]  # all of it came true: twice as far
    tokens += [8, 0, 2, 3]
    assert lookup.guess(tokens, 9) == [4]  # one token did
    assert lookup.guess([*tokens, 77, 78], 9) == []
