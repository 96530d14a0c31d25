"""The last layer, for the tokens whose hidden states are asked for and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import ENGINES, collect, reference, save

import sqlllm
from sqlllm.engine.engine import Engine
from sqlllm.engine.kept import begin
from sqlllm.engine.scoring import LabelTrie, score
from sqlllm.engine.slots import Slots
from sqlllm.models.causal import CausalModel

torch = pytest.importorskip("torch")
HEAD = tuple(range(3, 30))
ROWS = [list(range(5, 5 + n)) for n in (7, 1, 30, 12)]
TASK = sqlllm.Task("choose", labels=("bug", "bug report", "question"), instruction="Good?")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return Engine(reference(save(request.param, tmp_path)))


def multiplied(engine: Engine) -> list[int]:
    """Gets the tokens that the last layer's MLP reads, of each pass from now on."""
    counts: list[int] = []
    mlp = engine.model.base_model.layers[-1].mlp
    mlp.register_forward_pre_hook(
        lambda _, given: counts.append(given[0].numel() // given[0].shape[-1])
    )
    return counts


@pytest.mark.parametrize("head", [(), HEAD])
def test_states_and_keys_are_those_of_the_whole_layer(
    engine: Engine, head: tuple[int, ...]
) -> None:
    counts = multiplied(engine)
    whole, some, none = (Slots(len(ROWS), 30) for _ in range(3))
    kept = [0] * len(ROWS)
    everything = engine.read(whole, 0, ROWS, kept, head)
    last = engine.read(some, 0, ROWS, kept, head, wanted="last")
    nothing = engine.read(none, 0, ROWS, kept, head, wanted="none")
    # The head, of which no states are read, isn't among them.
    assert counts == [sum(map(len, ROWS)), len(ROWS)]
    assert len(everything) == sum(map(len, ROWS))
    ends = torch.tensor([len(row) for row in ROWS]).cumsum(0) - 1
    torch.testing.assert_close(last, everything[ends], rtol=1e-4, atol=1e-4)
    assert len(nothing) == 0
    for slots in (some, none):
        for layer in range(engine.model.config.num_hidden_layers):
            for got, right in zip(
                slots.read(layer, 0, len(ROWS), 30),
                whole.read(layer, 0, len(ROWS), 30),
                strict=True,
            ):
                torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-4)


def test_a_long_row_is_read_in_parts_of_which_only_the_last_has_a_state(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = [list(range(3, 90))]
    whole = engine.read(Slots(1, 87), 0, row, [0])
    counts = multiplied(engine)
    monkeypatch.setattr("sqlllm.engine.engine.LONGEST", 20)
    last = engine.read(Slots(1, 87), 0, row, [0], wanted="last")
    assert counts == [1]
    torch.testing.assert_close(last, whole[-1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(engine.read(Slots(1, 87), 0, row, [0]), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("labels", "layers"), [([[4], [5]], 1), ([[4], [4, 5]], 2)])
def test_keys_that_no_other_pass_reads_are_not_kept(
    engine: Engine, labels: list[list[int]], layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Watched(Slots):
        def __init__(self, *sizes: int, **options: Any) -> None:
            super().__init__(*sizes, **options)
            made.append(self)

    monkeypatch.setattr("sqlllm.engine.scoring.Slots", Watched)
    got = score(engine, HEAD, ROWS, LabelTrie.build(labels))
    assert [len(slots._layers) for slots in made] == [layers]
    whole = score(engine, (), [[*HEAD, *row] for row in ROWS], LabelTrie.build(labels))
    torch.testing.assert_close(got, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("labels", [[[4], [5]], [[4], [4, 5]]])
def test_labels_of_a_long_row_are_scored_behind_all_of_its_parts(
    engine: Engine, labels: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, trie = [list(range(3, 90))], LabelTrie.build(labels)
    whole = score(engine, HEAD, rows, trie)
    monkeypatch.setattr("sqlllm.engine.engine.LONGEST", 20)
    torch.testing.assert_close(score(engine, HEAD, rows, trie), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("labels", [[[4], [5]], [[4], [4, 5]]])
def test_labels_behind_a_beginning_that_was_read_before(
    engine: Engine, labels: list[list[int]]
) -> None:
    trie = LabelTrie.build(labels)
    (begun,) = begin(engine, HEAD, {2: ROWS[2][:20]}, room=100)
    got = score(engine, HEAD, ROWS, trie, [begun.get(row) for row in range(len(ROWS))])
    torch.testing.assert_close(got, score(engine, HEAD, ROWS, trie), rtol=1e-4, atol=1e-4)


def raises(few: bool, states: Any) -> Any:
    if few:
        raise RuntimeError("some tokens are missing")
    return states


def differs(few: bool, states: Any) -> Any:
    return -states if few else states


@pytest.mark.parametrize("layer", [None, raises, differs])
def test_a_model_whose_layers_want_all_tokens_gets_them(
    layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    folder, texts = save("llama", tmp_path), ["a", "zzz " * 20]
    expected = collect(CausalModel(folder, dtype="float32").choose(TASK, texts))
    forward = LlamaDecoderLayer.forward
    if layer:
        monkeypatch.setattr(
            LlamaDecoderLayer,
            "forward",
            lambda self, x, *args, **options: layer(
                x.shape[1] <= len(texts), forward(self, x, *args, **options)
            ),
        )
    model = CausalModel(folder, dtype="float32")
    assert model.note == ""  # it runs in the engine
    last = model._engine.model.base_model.layers[-1]
    assert ("forward" in vars(last)) is (layer is None)
    got = collect(model.choose(TASK, texts))
    for row, scores in expected.items():
        torch.testing.assert_close(torch.tensor(got[row]), torch.tensor(scores))
