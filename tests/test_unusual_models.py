"""Models whose configuration changes what a pass may do, and numbers that aren't any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONFIGS, SIZES, collect, reference, save, tokenizer

import sqlllm
from sqlllm.engine.engine import Engine
from sqlllm.engine.plain import Plain
from sqlllm.engine.prompt import encode, prompt_of
from sqlllm.models.causal import CausalModel
from sqlllm.models.sentence import SentenceModel, minilm_folder

torch = pytest.importorskip("torch")
TEXTS = [f"{i} {'word ' * i}" for i in (1, 2, 4, 16, 20)]
WRITE = sqlllm.Task("complete", max_tokens=10, system="Say it.")
LONGROPE = {
    "rope_parameters": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 100,
    },
    "original_max_position_embeddings": 100,
}


def generated(plain: Any, tokens: Any, text: str) -> str:
    """What transformers writes, one row at a time."""
    from transformers import GenerationConfig

    prompt = prompt_of(tokens, WRITE)
    ids = torch.tensor([[*prompt.head, *encode(tokens, text), *prompt.tail]])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=WRITE.max_tokens, eos_token_id=tokens.eos_token_id,
        pad_token_id=tokens.eos_token_id,
    )  # fmt: skip
    out = plain.generate(ids, generation_config=config)[0, ids.shape[1] :].tolist()
    return str(tokens.decode([t for t in out if t != tokens.eos_token_id]))


def test_longrope_is_read_up_to_where_its_rotations_change(tmp_path: Path) -> None:
    folder = save("phi3", tmp_path, **LONGROPE)
    model, plain, tokens = CausalModel(folder, dtype="float32"), reference(folder), tokenizer()
    assert isinstance(model._engine, Engine)
    assert model.window == 100
    assert model.note.startswith("reads 100 tokens at most")
    found = list(model.complete(WRITE, TEXTS))
    errors = {row: error for batch in found for row, error in batch.errors.items()}
    assert set(errors) == {3, 4}
    assert "has room for" in str(errors[3])
    for row, answer in collect(found).items():
        assert answer == generated(plain, tokens, TEXTS[row])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("PhimoeConfig", {"num_local_experts": 4}),
        ("DogeConfig", {}),
        (
            "Qwen2MoeConfig",
            {
                "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                "shared_expert_intermediate_size": 32, "use_sliding_window": True,
                "max_window_layers": 2,
            },
        ),
    ],
)  # fmt: skip
def test_a_window_that_layers_do_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sizes: dict[str, Any]
) -> None:
    """It is longer than what a model is tried with, and shorter than the texts."""
    monkeypatch.setitem(CONFIGS, "this", (name, sizes))
    folder = save("this", tmp_path, sliding_window=60)
    model, plain, tokens = CausalModel(folder, dtype="float32"), reference(folder), tokenizer()
    assert isinstance(model._engine, Plain)
    assert model.note.endswith("it doesn't tell its layers' window")
    got = collect(model.complete(WRITE, TEXTS))
    assert got == {row: generated(plain, tokens, text) for row, text in enumerate(TEXTS)}


def test_a_window_that_layers_tell_is_no_reason(tmp_path: Path) -> None:
    folder = save("mistral", tmp_path)
    assert isinstance(CausalModel(folder, dtype="float32")._engine, Engine)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("attention._merged", lambda out, *_: out),  # as if there were no prefix
        ("engine.Engine.label_logits", lambda e, states, some: 2 * e.logits(states)[:, list(some)]),
    ],
)
def test_a_model_that_gives_other_numbers_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any
) -> None:
    folder = save("llama", tmp_path)
    monkeypatch.setattr(f"sqlllm.engine.{name}", wrong)
    model, plain, tokens = CausalModel(folder, dtype="float32"), reference(folder), tokenizer()
    assert isinstance(model._engine, Plain)
    assert "it gives other numbers for packed rows (by " in model.note
    for row, answer in collect(model.complete(WRITE, TEXTS[:2])).items():
        assert answer == generated(plain, tokens, TEXTS[row])


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_numbers_too_large_for_float16(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(kind, tmp_path)
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    for name, weight in weights.items():
        if name.endswith(("down_proj.weight", "dense_4h_to_h.weight")):
            weights[name] = weight * 5e4
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(sqlllm.ConfigError, match="aren't finite in float16") as caught:
        CausalModel(folder, dtype="float16")
    assert caught.value.hint == "add `?dtype=float32` to its URI"
    assert CausalModel(folder, dtype="float32").window == SIZES["max_position_embeddings"]


def test_vectors_too_large_for_float16() -> None:
    from sentence_transformers import SentenceTransformer

    load = SentenceTransformer.__init__

    def large(self: Any, *given: Any, **asked: Any) -> None:
        load(self, *given, **asked)
        with torch.no_grad():
            self[0].auto_model.embeddings.LayerNorm.weight *= 1e6

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SentenceTransformer, "__init__", large)
        with pytest.raises(sqlllm.ConfigError, match="aren't finite in float16"):
            SentenceModel(minilm_folder(), dtype="float16")


def test_what_a_model_sets_for_generate_changes_nothing(tmp_path: Path) -> None:
    """Two beams gave a row the answer of its neighbour."""
    import transformers

    folder = save("bloom", tmp_path)
    texts = ["ab", "quick", "fox12", "x"]
    expected = collect(CausalModel(folder, dtype="float32").complete(WRITE, texts))
    config = transformers.GenerationConfig.from_pretrained(folder)
    config.update(num_beams=2, no_repeat_ngram_size=1, suppress_tokens=list(range(20, 120)))
    config.save_pretrained(folder)
    assert collect(CausalModel(folder, dtype="float32").complete(WRITE, texts)) == expected


def test_temperatures_that_float32_has_no_numbers_for(tmp_path: Path) -> None:
    model = CausalModel(save("llama", tmp_path), dtype="float32")
    cold, hot = (replace(WRITE, temperature=each, top_p=0.9) for each in (5e-324, 1e300))
    assert collect(model.complete(cold, TEXTS)) == collect(model.complete(WRITE, TEXTS))
    found = collect(model.complete(replace(hot, pattern="[a-c]{4}"), TEXTS))
    assert all(len(answer) == 4 and set(answer) <= set("abc") for answer in found.values())


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_tokens_are_counted_once_whoever_runs_the_model(tmp_path: Path, kind: str) -> None:
    """Behind `generate`, what stands before a text was counted twice."""
    model = CausalModel(save(kind, tmp_path), dtype="float32")
    for task in (WRITE, sqlllm.Task("choose", labels=("bug", "b"))):
        prompt = prompt_of(model._tokenizer, task)
        around = len(prompt.head) + len(prompt.tail)
        batches = list(model.answer(task, TEXTS))
        expected = sum(around + count for count in model.count_tokens(TEXTS))
        assert sum(batch.prompt_tokens for batch in batches) == expected
        written = sum(batch.completion_tokens for batch in batches)
        assert 0 < written <= 10 * len(TEXTS) if task is WRITE else written == 0


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_rows_that_end_beside_others_that_go_on(tmp_path: Path, kind: str) -> None:
    folder, tokens = save(kind, tmp_path), tokenizer()
    plain, texts = reference(folder), [f"text {i}" for i in range(10, 18)]
    prompt = prompt_of(tokens, WRITE)
    ids = torch.tensor([[*prompt.head, *encode(tokens, text), *prompt.tail] for text in texts])
    mask = torch.ones_like(ids)
    out = plain.generate(
        ids, attention_mask=mask, max_new_tokens=10, do_sample=False, pad_token_id=0
    )
    written = out[:, ids.shape[1] :].tolist()
    ends = {written[0][2], written[1][4]}
    expected = [row[: next((i for i, t in enumerate(row) if t in ends), 10)] for row in written]
    assert len(set(map(len, expected))) > 1
    model = CausalModel(folder, dtype="float32")
    model._ends = frozenset(ends)
    got = collect(model.complete(WRITE, texts))
    assert [got[row] for row in range(len(texts))] == [tokens.decode(row) for row in expected]


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_rows_that_generate_has_no_memory_for_go_on_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    model = CausalModel(save("bloom", tmp_path), dtype="float32")
    assert isinstance(model._engine, Plain)
    task = sqlllm.Task("complete", max_tokens=10, temperature=temperature)
    texts = ["ab", "cd", "ef", "gh", "ij", "longer"]
    forward, passes, most = model._engine.model.forward, [0], [2]
    expected = list(model.complete(task, texts))

    def small(*, input_ids: Any, **options: Any) -> Any:
        passes[0] += 1
        if passes[0] > 4 and len(input_ids) > most[0]:  # in the middle of an answer
            raise MemoryError
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(model._engine.model, "forward", small)
    found = list(model.complete(task, texts))
    assert collect(found) == collect(expected)
    for count in ("prompt_tokens", "completion_tokens"):
        assert sum(getattr(b, count) for b in found) == sum(getattr(b, count) for b in expected)
    most[0] = 0
    with pytest.raises(sqlllm.ModelError, match="memory ran out over a single text"):
        list(model.complete(task, texts))


@pytest.mark.parametrize("truncate", [False, True])
@pytest.mark.parametrize(
    "task",
    [
        sqlllm.Task("complete", max_tokens=600),
        sqlllm.Task("complete", system="long " * 200),
        sqlllm.Task("choose", labels=("a", "b"), instruction="long " * 200),
    ],
)
def test_a_question_that_leaves_no_room_for_a_text(
    tmp_path: Path, task: sqlllm.Task, truncate: bool
) -> None:
    """Cut to nothing, all texts had one answer."""
    model = CausalModel(save("llama", tmp_path), dtype="float32")
    with pytest.raises(sqlllm.InputTooLong, match="leave none for a text") as caught:
        collect(model.answer(replace(task, truncate=truncate), ["one", "two"]))
    other = "have fewer labels" if task.labels else "lower `max_tokens`"
    assert caught.value.hint == f"shorten the question, or {other}"


def test_a_text_written_anew_has_no_more_room_than_the_model_has_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned ones end there: the longest texts ended their query with an IndexError."""
    monkeypatch.setitem(CONFIGS, "gpt2", ("GPT2Config", {"n_embd": 32, "n_head": 4, "n_layer": 2}))
    model = CausalModel(save("gpt2", tmp_path), dtype="float32")
    model._ends = frozenset()  # it writes as long as it may
    for on in (False, True):
        task = replace(WRITE, max_tokens=None, whole=True, text_first=on)
        prompt = prompt_of(model._tokenizer, task)
        most = (model.window - len(prompt.head) - len(prompt.tail) - 64) // 3
        for length, truncate, expected in (
            (most, False, f"was cut at {2 * most + 64} tokens"),
            (most + 1, False, f"has room for {most} here"),
            (most + 1, True, f"was cut at {2 * most + 64} tokens"),
        ):
            asked = model.complete(replace(task, truncate=truncate), ["x" * length])
            (error,) = [error for batch in asked for error in batch.errors.values()]
            assert expected in str(error)
    choose = sqlllm.Task("choose", labels=("a", "bug report"), truncate=True)
    assert len(collect(model.choose(choose, ["x" * 600]))) == 1


def test_an_answer_ends_where_the_configuration_for_generate_says(tmp_path: Path) -> None:
    """Llama 3's has three such tokens, of which its tokenizer knows one."""
    folder = save("llama", tmp_path)
    path, tokens = folder / "generation_config.json", tokenizer()
    prompt = prompt_of(tokens, WRITE)
    ids = torch.tensor([[*prompt.head, *encode(tokens, TEXTS[0]), *prompt.tail]])
    out = reference(folder).generate(ids, max_new_tokens=10, do_sample=False, pad_token_id=0)
    written = out[0, ids.shape[1] :].tolist()
    ends = [token for token in written[2:] if token not in written[:2]][:2]
    config = json.loads(path.read_text())
    for named, expected in ((ends, ends), (None, [tokens.eos_token_id])):
        path.write_text(json.dumps(config | {"eos_token_id": named}))
        model = CausalModel(folder, dtype="float32")
        assert model._ends == set(expected)
        cut = next((i for i, token in enumerate(written) if token in expected), 10)
        assert collect(model.complete(WRITE, TEXTS))[0] == tokens.decode(written[:cut])


def test_a_model_that_also_reads_images(tmp_path: Path) -> None:
    """Its configuration has the language model's in a part; it had no limit of tokens."""
    import transformers as tr

    tokens = tokenizer()
    tokens.save_pretrained(tmp_path)
    text = SIZES | {"vocab_size": len(tokens), "head_dim": 8, "sliding_window": 16}
    images = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    images |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    config = tr.Gemma3Config(
        text_config=text, vision_config=images, eos_token_id=tokens.eos_token_id
    )
    torch.manual_seed(0)
    tr.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    model, plain = CausalModel(tmp_path, dtype="float32"), reference(tmp_path)
    assert isinstance(model._engine, Engine)
    assert model.window == SIZES["max_position_embeddings"]
    for row, answer in collect(model.complete(WRITE, TEXTS)).items():
        assert answer == generated(plain, tokens, TEXTS[row])


CHOOSES = """
import os, sys
from pathlib import Path
import sqlllm
from sqlllm.models.causal import CausalModel
model = CausalModel(Path(sys.argv[1]), dtype="float32")
task = sqlllm.Task("choose", labels=("bug", "bug report", "b"))
texts = [f"{i} {'word ' * (i % 20)}" for i in range(40)]
list(model.choose(task, texts))
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
list(model.choose(task, texts))
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_of_a_thread_that_has_asked_goes_on(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHOOSES, str(folder)],
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.wait(120) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.1)


@pytest.fixture(params=[(0, 0), (0, 1), (1, 1)])
def around(request: pytest.FixtureRequest) -> tuple[int, int]:
    found: tuple[int, int] = request.param
    return found


def test_special_tokens_of_any_number(around: tuple[int, int]) -> None:
    """Of a tokenizer as Qwen3's (one at the end), BERT's, or one without."""
    from tokenizers import processors

    model = SentenceModel(minilm_folder(), dtype="float32")
    backend = model._model.tokenizer.backend_tokenizer
    before, behind = ("[CLS] " * around[0]), (" [SEP]" * around[1])
    ids = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{before}$A{behind}", pair=f"{before}$A $B{behind}", special_tokens=ids
    )
    model._special = model._around()
    assert model._special == around
    assert model.count_tokens(["", "a b"]) == [0, 2]
    (long,) = model._tokens(["word " * 400])
    cut = model._cut(long)
    assert len(cut) == model.window
    assert cut[: model.window - around[1]] == long[: model.window - around[1]]
    assert around[1] == 0 or cut[-1] == long[-1]
    assert np.isfinite(model._vectors(model._encoder, [cut])).all()  # type: ignore[arg-type]
