"""Linear layers on CPUs: oneDNN's own weights in place of plain ones, which can come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import collect, reference, save

import sqlllm
from sqlllm.engine import linear
from sqlllm.models.causal import CausalModel
from sqlllm.models.sentence import SentenceModel, minilm_folder

TEXTS = ["a", "some longer text", "zzz " * 20, ""]

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or not torch.backends.mkldnn.is_available(),
    reason="runs on CPUs that oneDNN knows",
)


def linears(model: Any) -> list[Any]:
    found = [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert found
    return found


@pytest.fixture
def wants_plain(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes Llama's and BERT's code look at its own weights, which oneDNN's don't allow."""
    from transformers.models.bert.modeling_bert import BertSelfOutput
    from transformers.models.llama.modeling_llama import LlamaAttention

    asked: list[str] = []

    def looks(kind: Any, layer: str) -> None:
        forward = kind.forward

        def looking(self: Any, *args: Any, **options: Any) -> Any:
            asked.append(layer)
            assert getattr(self, layer).weight.stride(0) > 1
            return forward(self, *args, **options)

        monkeypatch.setattr(kind, "forward", looking)

    looks(LlamaAttention, "q_proj")
    looks(BertSelfOutput, "dense")
    return asked


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma"])  # qwen2 has biases
def test_layers_give_the_same_and_get_their_weights_back(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    model = reference(save(kind, tmp_path)).to(getattr(torch, dtype))
    ids = torch.arange(24)[None]
    with torch.inference_mode():
        expected = model(ids).logits
        weights = {name: weight.clone() for name, weight in model.named_parameters()}
        changed = linear.speed_up(model)
        assert all(layer.weight.is_mkldnn for layer in linears(model.base_model))
        assert not any("proj.weight" in name for name, _ in model.named_parameters())  # no copy
        got = model(ids).logits
        close = float((got - expected).norm() / expected.norm())
        assert close < {"float32": 1e-5, "bfloat16": 0.02}[dtype]
        linear.undo(changed)
        after = dict(model.named_parameters())
        assert after.keys() == weights.keys()
        assert all(torch.equal(after[name], weight) for name, weight in weights.items())
        assert torch.equal(model(ids).logits, expected)


def test_a_model_whose_code_wants_plain_weights_keeps_them(
    tmp_path: Path, wants_plain: list[str]
) -> None:
    folder = save("llama", tmp_path)
    task = sqlllm.Task("complete", max_tokens=9)
    model = CausalModel(folder, dtype="float32")
    assert model.note == ""  # it runs in the engine all the same
    assert not any(layer.weight.is_mkldnn for layer in linears(model._model))
    assert "q_proj" in wants_plain
    assert len(set(collect(model.complete(task, TEXTS)).values())) > 1


def test_an_encoder_whose_code_wants_plain_weights_keeps_them(wants_plain: list[str]) -> None:
    model = SentenceModel(minilm_folder(), dtype="float32")
    assert model._encoder is not None
    assert not any(layer.weight.is_mkldnn for layer in linears(model._model[0].auto_model))
    assert "dense" in wants_plain
    got = np.zeros((len(TEXTS), 384), np.float32)
    for batch in model.embed(sqlllm.Task("embed"), TEXTS):
        got[batch.rows] = batch.answers
    model._encoder.restore()
    np.testing.assert_allclose(got, model._padded(TEXTS), atol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="Linux says what is mapped")
def test_the_file_of_the_weights_is_let_go(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    plain = reference(folder)
    assert str(folder) in Path("/proc/self/maps").read_text()  # how transformers reads them
    del plain
    model = CausalModel(folder, dtype="float32")
    assert str(folder) not in Path("/proc/self/maps").read_text()
    assert model.note == ""


def test_a_pass_is_at_most_a_sixteenth_larger_and_one_of_few_sizes() -> None:
    sizes = {tokens: linear.rounded(tokens, "cpu") for tokens in range(2049)}
    assert all(tokens <= size <= tokens + tokens / 16 for tokens, size in sizes.items())
    assert all(sizes[size] == size for size in sizes.values())
    assert len(set(sizes.values())) < 150
    assert all(linear.rounded(tokens, "cuda") == tokens for tokens in sizes)


def test_products_have_few_sizes_whatever_is_asked(tmp_path: Path) -> None:
    """Of every one oneDNN keeps a kernel, and the process does not get smaller again."""
    texts = ["word " * length for length in range(1, 21)] * 4
    texts = [f"{text}{i}" for i, text in enumerate(texts)]
    language = CausalModel(save("llama", tmp_path), dtype="float32")
    vectors = SentenceModel(minilm_folder(), dtype="float32")
    seen: set[int] = set()

    def note(_: Any, given: tuple[Any, ...]) -> None:
        seen.add(given[0].shape[-2])

    for model in (language._model, vectors._model[0].auto_model):
        for layer in linears(model):
            layer.register_forward_pre_hook(note)
    for model, task in (
        (language, sqlllm.Task("choose", labels=("a", "b", "c"))),
        (language, sqlllm.Task("complete", max_tokens=40)),
        (vectors, sqlllm.Task("embed")),
    ):
        seen.clear()
        for count in (1, 33, len(texts)):
            answered = collect(model.answer(task, texts[-count:]))
            assert len(answered) == count
        assert max(seen) > 512  # also where two passes share the texts
        assert {size for size in seen if size != linear.rounded(size, "cpu")} == set()
