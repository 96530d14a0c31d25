"""Linear layers in int8: exact products, answers near those of float32, the same in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONFIGS, ENGINES, collect, reference, save

import sqlllm
from sqlllm.doctor.configured import models
from sqlllm.engine import int8, memory
from sqlllm.engine.memory import check_weights
from sqlllm.models.causal import CausalModel
from sqlllm.models.sentence import SentenceModel, minilm_folder
from sqlllm.settings import Settings

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or bool(int8.missing()), reason=f"int8 {int8.missing()}"
)
TEXTS = ["a", "some longer text", "zzz " * 20, "", "b" * 33, "c" * 300]
WRITE = sqlllm.Task("complete", system="be brief", max_tokens=12)
CHOOSE = sqlllm.Task("choose", labels=("bug", "bug report", "question"), instruction="Good?")


@pytest.fixture(scope="module", params=ENGINES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param), initializer_range=0.2)


@pytest.fixture(scope="module")
def model(tiny: Path) -> CausalModel:
    """All else in float32: in bfloat16, random weights have ties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sqlllm.engine.trial.precision", lambda _: "float32")
        made = CausalModel(tiny, dtype="int8")
    assert made.note == ""  # it runs in the engine
    return made


def layer(inputs: int, outputs: int, *, bias: bool = True, seed: int = 0) -> tuple[Any, Any]:
    """A linear layer, and the same in int8."""

    class Holder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.layer = torch.nn.Linear(inputs, outputs, bias=bias)

        def get_output_embeddings(self) -> None:
            return None

    plain, changed = Holder(), Holder()
    assert int8.quantize(changed, torch.float32) == 1
    return plain.layer, changed.layer


def rounded(rows: Any) -> Any:
    """To 127 steps of each row's largest, as float64."""
    steps = np.abs(rows).max(1, keepdims=True) / 127
    return np.round(rows / steps) * steps


@pytest.mark.parametrize("inputs", [64, 192, 96, 40, 7])
@pytest.mark.parametrize("tokens", [1, 5, int8.ROWS + 3])
def test_products_are_those_of_rounded_numbers(inputs: int, tokens: int) -> None:
    plain, changed = layer(inputs, 48)
    x = torch.randn(1, tokens, inputs) * torch.rand(1, tokens, 1)
    block = np.gcd(inputs, int8.BLOCK)
    turn = np.ones((1, 1))
    while len(turn) < block:
        turn = np.kron([[1, 1], [1, -1]], turn) / 2**0.5
    whole = np.kron(np.eye(inputs // block), turn)
    weight, bias = (each.detach().double().numpy() for each in (plain.weight, plain.bias))
    expected = rounded(x[0].double().numpy() @ whole) @ rounded(weight @ whole).T + bias
    with torch.inference_mode():
        got = changed(x)
    assert got.shape == (1, tokens, 48)
    # A number half-way between two steps may be rounded to either in float32.
    near = np.abs(got[0].numpy() - expected) <= 1e-4 + 1e-4 * np.abs(expected)
    assert near.mean() > 0.99
    assert np.abs(got[0].numpy() - expected).max() < 0.05


def test_a_number_that_stands_out_costs_the_others_little() -> None:
    plain, changed = layer(576, 64, bias=False)
    x = torch.randn(32, 576)
    x[:, 100] = 60.0
    with torch.inference_mode():
        expected, got = plain(x), changed(x)
        weight = torch.tensor(rounded(plain.weight.numpy())).float()
        unturned = torch.tensor(rounded(x.numpy())).float() @ weight.T
    apart = [float((each - expected).norm() / expected.norm()) for each in (got, unturned)]
    assert apart[0] < 0.02
    assert apart[1] > 3 * apart[0]


def test_zeros_no_rows_and_numbers_that_are_none() -> None:
    plain, changed = layer(64, 8)
    with torch.inference_mode():
        assert torch.equal(changed(torch.zeros(2, 64)), plain.bias.expand(2, 8))
        assert changed(torch.zeros(0, 64)).shape == (0, 8)
        x = torch.ones(2, 64)
        x[1, 3] = float("nan")
        got = changed(x)
    assert got[1].isnan().all()
    torch.testing.assert_close(got[0], plain(torch.ones(64)).detach(), rtol=0.05, atol=0.05)


def test_answers_are_near_those_of_float32(model: CausalModel, tiny: Path) -> None:
    exact = CausalModel(tiny, dtype="float32")
    expected, got = (collect(each.choose(CHOOSE, TEXTS)) for each in (exact, model))
    assert got.keys() == expected.keys() == set(range(len(TEXTS)))
    apart = [np.abs(got[row] - expected[row]).max() for row in expected]
    assert 0 < max(apart) < 0.1
    assert model.fingerprint != exact.fingerprint


def test_a_row_gets_the_same_alone_and_among_others(model: CausalModel) -> None:
    written, chosen = collect(model.complete(WRITE, TEXTS)), collect(model.choose(CHOOSE, TEXTS))
    for row, text in enumerate(TEXTS):
        assert collect(model.complete(WRITE, [text]))[0] == written[row]
        np.testing.assert_allclose(collect(model.choose(CHOOSE, [text]))[0], chosen[row], atol=0.01)


def test_no_weights_are_kept_beside_those_in_int8(tmp_path: Path) -> None:
    folder = save("llama", tmp_path)
    sizes = {name: p.numel() for name, p in reference(folder).named_parameters()}
    after = dict(CausalModel(folder, dtype="int8")._model.named_parameters())
    gone = sizes.keys() - after.keys()
    assert gone == {name for name in sizes if "proj" in name}
    assert after["model.embed_tokens.weight"].numel() == sizes["model.embed_tokens.weight"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_files_in_half_precision(dtype: str, tmp_path: Path) -> None:
    folder = save("qwen2", tmp_path / "whole", initializer_range=0.2)
    whole = reference(folder)
    expected = collect(CausalModel(folder, dtype="int8").choose(CHOOSE, TEXTS))
    whole.to(getattr(torch, dtype)).save_pretrained(tmp_path / "half")
    for path in folder.glob("token*"):
        (tmp_path / "half" / path.name).write_bytes(path.read_bytes())
    template = folder / "chat_template.jinja"
    (tmp_path / "half" / template.name).write_bytes(template.read_bytes())
    model = CausalModel(tmp_path / "half", dtype="int8")
    assert {str(p.dtype) for p in model._model.parameters()} <= {"torch.float32", "torch.bfloat16"}
    got = collect(model.choose(CHOOSE, TEXTS))
    for row, odds in expected.items():
        np.testing.assert_allclose(got[row], odds, atol=0.05)


def test_in_sql_by_the_uri_beside_the_same_model_in_float32(tmp_path: Path) -> None:
    folder = save("llama", tmp_path, initializer_range=0.2)
    given = {
        "small": f"hf:{folder}?dtype=int8",
        "exact": f"hf:{folder}?dtype=float32",
    }
    with sqlllm.connect(models=given) as db:
        scores = "SELECT ai.score(x, 'Good?', model := '{}') FROM (VALUES ('a'), ('bcd')) t(x)"
        (small, exact) = (
            [p for (p,) in db.execute(scores.format(name)).fetchall()] for name in given
        )
        assert small != exact  # not each other's from the cache
        np.testing.assert_allclose(small, exact, atol=0.05)
        named = db.execute("SELECT name, uri FROM ai.models WHERE name IN ('small', 'exact')")
        assert dict(named.fetchall()) == given


def test_what_it_needs_is_said_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save("llama", tmp_path, hidden_size=512, intermediate_size=2048)
    needed: dict[str, float] = {}
    monkeypatch.setattr("sqlllm.engine.memory.free_bytes", lambda _: 0)
    for dtype in ("float32", "int8"):
        with pytest.raises(sqlllm.ConfigError, match="for its weights in") as refused:
            check_weights(folder, dtype, "cpu", "mine")
        needed[dtype] = float(str(refused.value).split("needs ")[1].split(" ")[0])
    assert 3 * needed["int8"] < needed["float32"] < 4.5 * needed["int8"]


def test_experts_need_what_they_need_in_float32(tmp_path: Path) -> None:
    folder = save("gpt_oss", tmp_path)
    experts = sum(p.numel() for p in reference(folder).parameters() if p.dim() == 3)
    assert experts
    assert memory._weights(folder, "int8", "float32") > 4 * experts


def test_what_can_not_run_in_int8_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "leave dtype=int8 out of the model's URI"
    folder = save("llama", tmp_path / "llama")
    with pytest.raises(sqlllm.ConfigError, match="embedding model") as refused:
        SentenceModel(minilm_folder(), dtype="int8")
    assert hint in str(refused.value)
    with pytest.raises(sqlllm.ConfigError, match="it has attention of its own"):
        CausalModel(save("bloom", tmp_path / "bloom"), dtype="int8")
    with monkeypatch.context() as patch:
        patch.setitem(CONFIGS, "gpt2", ("GPT2Config", {"n_embd": 32, "n_head": 4, "n_layer": 2}))
        with pytest.raises(sqlllm.ConfigError, match="it has no plain linear layers"):
            CausalModel(save("gpt2", tmp_path / "gpt2"), dtype="int8")
    with monkeypatch.context() as patch:
        patch.setattr("sqlllm.engine.trial.INT8", 1e-9)
        with pytest.raises(sqlllm.ConfigError, match=r"gives other numbers in int8 \(by \d+%\)"):
            CausalModel(folder, dtype="int8")
    with monkeypatch.context() as patch:
        patch.setattr("sqlllm.models.causal.device", lambda: "cuda")
        with pytest.raises(sqlllm.ConfigError, match="int8 is for CPUs, and this is cuda"):
            CausalModel(folder, dtype="int8")
    times = int8.Weight.times
    settings = Settings(models={"mine": f"hf:{folder}?dtype=int8"})
    (known,) = [each for each in models(settings) if each.name == "mine"]
    assert (known.status, ", in int8)" in known.found) == ("ok", True)
    with monkeypatch.context() as patch:  # as where pairs of products are added in 16 bits
        patch.setattr(int8.Weight, "times", lambda *given: times(*given).clamp(max=1e6))
        with pytest.raises(sqlllm.ConfigError, match="int8 needs a CPU that multiplies it exactly"):
            CausalModel(folder, dtype="int8")
        (known,) = [each for each in models(settings) if each.name == "mine"]
        assert (known.status, known.fix) == ("warning", hint)
        assert "int8 needs a CPU" in known.found
    with monkeypatch.context() as patch:
        patch.setattr(int8, "PRODUCT", "gone")
        with pytest.raises(sqlllm.ConfigError, match="int8 needs torch with oneDNN"):
            CausalModel(folder, dtype="int8")
