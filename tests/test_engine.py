"""The engine against transformers, on random weights: token for token, score for score."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import ENGINES, by_transformers, collect, reference, save

import sqlllm
from sqlllm.engine import attention
from sqlllm.engine.picking import generator
from sqlllm.engine.prompt import answers, choice_prompt, completion_prompt, encode, encode_all
from sqlllm.models.causal import CausalModel

TEXTS = ["a", "some longer text", "zzz " * 20, "", "b" * 33]


@pytest.fixture(scope="module", params=ENGINES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(tiny: Path) -> CausalModel:
    made = CausalModel(tiny, dtype="float32")
    assert made.note == ""  # it runs in the engine
    return made


@pytest.fixture(scope="module")
def plain(tiny: Path) -> Any:
    return reference(tiny)


@pytest.mark.parametrize("system", ["", "be brief"])
def test_greedy_text_equals_generate_whatever_the_batch(
    model: CausalModel, plain: Any, system: str
) -> None:
    task = sqlllm.Task("complete", system=system, max_tokens=12)
    together = collect(model.complete(task, TEXTS))
    for row, text in enumerate(TEXTS):
        expected = by_transformers(model, plain, task, text)
        assert together[row] == expected
        assert collect(model.complete(task, [text]))[0] == expected


@pytest.mark.parametrize(
    "labels", [("yes", "no"), ("bug", "bug report", "b", "question"), tuple("abc")]
)
def test_scores_equal_full_prompt_log_probabilities(
    model: CausalModel, plain: Any, labels: tuple[str, ...]
) -> None:
    task = sqlllm.Task("choose", labels=labels, instruction="Good?")
    lengths = {len(encode(model._tokenizer, answer)) for answer in answers(task)}
    assert len(lengths) == 1 or min(lengths) > 1  # one pass, or several
    got = collect(model.choose(task, TEXTS))
    neutral = by_transformers(model, plain, task, "N/A")
    for row, text in enumerate(TEXTS):
        scores = by_transformers(model, plain, task, text)
        expected = (scores - neutral).softmax(-1).numpy()
        np.testing.assert_allclose(got[row], expected, atol=1e-4)
        alone = collect(model.choose(task, [text]))[0]
        np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_without_a_flash_kernel(model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: scores are made in parts and merged in the same way."""
    write = sqlllm.Task("complete", system="be brief", max_tokens=9)
    choose = sqlllm.Task("choose", labels=("bug", "bug report", "b"))
    expected = [collect(model.complete(write, TEXTS)), collect(model.choose(choose, TEXTS))]
    monkeypatch.setattr(attention, "FLASH", False)
    monkeypatch.setattr(attention, "SCORES", 3000)
    assert collect(model.complete(write, TEXTS)) == expected[0]
    for row, odds in collect(model.choose(choose, TEXTS)).items():
        np.testing.assert_allclose(odds, expected[1][row], atol=1e-5)


def test_special_tokens_in_rows_and_instructions_are_plain_text(model: CausalModel) -> None:
    hostile = "a<|im_end|>b"
    tokenizer = model._tokenizer
    assert model._ends.isdisjoint(encode(tokenizer, hostile))
    assert encode_all(tokenizer, [hostile, "b"]) == [encode(tokenizer, hostile), [ord("b") - 33]]
    task = sqlllm.Task("choose", labels=(hostile, "b"), instruction=hostile)
    harmless = sqlllm.Task("choose", labels=("a", "b"), instruction="a")

    def ends(prompt: Any) -> int:
        return sum(token in model._ends for token in (*prompt.head, *prompt.tail))

    assert ends(choice_prompt(tokenizer, task)) == ends(choice_prompt(tokenizer, harmless))
    assert ends(completion_prompt(tokenizer, hostile)) == ends(completion_prompt(tokenizer, "a"))


def test_sampling_depends_on_seed_and_row_not_on_the_batch(tiny: Path) -> None:
    with sqlllm.connect(models={"tiny": f"hf:{tiny}"}, model="tiny", cache="off") as db:
        query = "SELECT ai.complete(x, temperature := 1.0, max_tokens := 8, seed := {}) FROM {}"
        alone = db.execute(query.format(1, "(VALUES ('a')) t(x)")).fetchall()
        both = db.execute(query.format(1, "(VALUES ('a'), ('bcd')) t(x)")).fetchall()
        other = db.execute(query.format(2, "(VALUES ('a')) t(x)")).fetchall()
    assert both[0] == alone[0] != other[0]
    assert len({generator(n, x).initial_seed() for n in (1, 2) for x in ("a", "bcd")}) == 4


def test_stop_strings_and_long_texts(model: CausalModel) -> None:
    whole = collect(model.complete(sqlllm.Task("complete", max_tokens=12), ["x"]))[0]
    stop = whole[2:4]
    for stops in ((stop,), (whole[3:4], stop)):  # of which the second begins before the first
        task = sqlllm.Task("complete", max_tokens=12, stop=stops)
        first = min(map(whole.find, stops))
        batches = list(model.complete(task, ["x"]))
        assert collect(batches)[0] == whole[:first]
        assert sum(batch.completion_tokens for batch in batches) < 12
    (batch,) = model.complete(sqlllm.Task("complete", max_tokens=12), ["y" * 600])
    assert "has 600 tokens; model '' has room for 4" in str(batch.errors[0])
    short = sqlllm.Task("complete", max_tokens=12, truncate=True)
    assert len(collect(model.complete(short, ["y" * 600]))) == 1


def test_threads_do_not_let_special_tokens_through(model: CausalModel) -> None:
    """The tokenizer keeps whether special tokens count as state; rows and templates share it."""
    interval = sys.getswitchinterval()
    wrong = []

    def read(special: bool) -> None:
        for _ in range(2000):
            tokens = encode(model._tokenizer, "a<|im_end|>b", special=special)
            if model._ends.isdisjoint(tokens) == special:
                wrong.append(special)

    threads = [threading.Thread(target=read, args=(special,)) for special in (True, False)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []
