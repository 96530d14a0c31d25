"""Folders whose model would answer with random numbers, or with another model's answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny

import sqlllm
from sqlllm.models.width import width_of

pytestmark = pytest.mark.filterwarnings("ignore")  # sentence-transformers' own
WRITES = "SELECT ai.complete('hello', max_tokens := 3)"
EMBEDS = "SELECT ai.embed($1)"


def asked(folder: Path, query: str, *values: str) -> Any:
    uri = f"hf:{folder}?dtype=float32"
    with sqlllm.connect(model=uri, embed_model=uri, cache="off") as db:
        ((answer,),) = db.execute(query, list(values)).fetchall()
    return answer


def changed(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def bert(kind: str, folder: Path) -> Path:
    import transformers as tr

    config = tr.BertConfig(
        vocab_size=260, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=32, initializer_range=0.5,
    )  # fmt: skip
    getattr(tr, kind)(config).save_pretrained(folder)
    tokens = tiny.tokenizer()
    tokens.chat_template = None
    tokens.add_special_tokens({"pad_token": "<|im_end|>"})
    tokens.save_pretrained(folder)
    return folder


def sentences(folder: Path, **options: Any) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    modules = [Transformer(str(bert("BertModel", folder / "e")), max_seq_length=64), Pooling(32)]
    SentenceTransformer(modules=modules, **options).save_pretrained(str(folder / "all"))
    return folder / "all"


@pytest.mark.parametrize("query", [WRITES, EMBEDS.replace("$1", "'a'")])
@pytest.mark.parametrize("kind", ["BertModel", "BertForSequenceClassification"])
def test_a_model_that_is_no_language_model(tmp_path: Path, kind: str, query: str) -> None:
    with pytest.raises(sqlllm.ModelError, match="lack weights of a language model: cls") as caught:
        asked(bert(kind, tmp_path), query)
    assert "an embedding model's folder has a modules.json" in str(caught.value)


def test_a_model_that_fills_gaps(tmp_path: Path) -> None:
    with pytest.raises(sqlllm.ModelError, match="fills gaps in a text"):
        asked(bert("BertForMaskedLM", tmp_path), WRITES)


def test_a_configuration_with_more_layers_than_the_files(tmp_path: Path) -> None:
    changed(tiny.save("llama", tmp_path) / "config.json", num_hidden_layers=3)
    with pytest.raises(sqlllm.ModelError, match=r"lack .*: model\.layers\.2\.\S+ and 8 more"):
        asked(tmp_path, WRITES)


def test_an_embedding_model_with_more_layers_than_its_files(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    changed(folder / "config.json", num_hidden_layers=2)
    with pytest.raises(sqlllm.ModelError, match=r"lack .* embedding model: \S*1\.\S+ and 15 more"):
        asked(folder, EMBEDS, "a")


def test_an_embedding_model_without_what_it_does_not_use(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = sentences(tmp_path)
    weights = load_file(folder / "model.safetensors")
    assert any("pooler" in name for name in weights)
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))  # one URI is loaded once
    kept = {name: weight for name, weight in weights.items() if "pooler" not in name}
    save_file(kept, bare / "model.safetensors", metadata={"format": "pt"})
    assert asked(bare, EMBEDS, "a") == asked(folder, EMBEDS, "a")


@pytest.mark.parametrize("make", [lambda path: tiny.save("llama", path), sentences])
@pytest.mark.parametrize("special", [True, False])
def test_a_tokenizer_that_knows_more_than_its_model(
    tmp_path: Path, make: Any, special: bool
) -> None:
    folder = make(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    tokens = tiny.tokenizer()
    tokens.add_special_tokens({"pad_token": "<|im_end|>"})
    for i in range(len(tokens), config["vocab_size"] + 1):
        tokens.add_tokens(f"<image {i}>", special_tokens=special)
    tokens.save_pretrained(folder)
    query = WRITES if make is not sentences else EMBEDS.replace("$1", "'a'")
    if special:
        assert asked(folder, query)
        return
    with pytest.raises(sqlllm.ModelError, match=r"knows \d+ tokens: '<image \d+>' is number"):
        asked(folder, query)


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    assert asked(tiny.save("llama", tmp_path, tie_word_embeddings=True), WRITES)


@pytest.mark.parametrize("kind", ["qwen2", "gemma"])
def test_no_tokenizer(tmp_path: Path, kind: str) -> None:
    for path in tiny.save(kind, tmp_path).glob("tokenizer*"):
        path.unlink()
    with pytest.raises(sqlllm.ModelError, match=r"the tokenizer in .* knows no words"):
        asked(tmp_path, WRITES)


def test_no_tokenizer_of_an_embedding_model(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    assert asked(folder, EMBEDS, "a") != asked(folder, EMBEDS, "b")
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))  # one URI is loaded once
    for path in bare.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(sqlllm.ModelError, match=r"the tokenizer in .* knows no words"):
        asked(bare, EMBEDS, "a")


def test_pickled_weights_of_an_embedding_model(tmp_path: Path) -> None:
    """They aren't in the fingerprint: two models would share their answers."""
    import torch
    from safetensors.torch import load_file

    folder = sentences(tmp_path)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    assert asked(folder, EMBEDS, "a")
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / weights.name).unlink()
    with pytest.raises(sqlllm.ModelError, match=r"pytorch_model\.bin holds pickled weights"):
        asked(pickled, EMBEDS, "a")


def test_a_configuration_that_asks_for_pickled_weights(tmp_path: Path) -> None:
    """A pickle is a program."""
    import torch
    from safetensors.torch import load_file

    folder = sentences(tmp_path)
    expected = asked(folder, EMBEDS, "a")
    other = Path(shutil.copytree(folder, tmp_path / "other"))  # one URI is loaded once
    weights = {k: v + 1 for k, v in load_file(other / "model.safetensors").items()}
    torch.save(weights, other / "pytorch_model.bin")
    changed(other / "sentence_bert_config.json", model_args={"use_safetensors": False})
    assert asked(other, EMBEDS, "a") == expected


def test_an_embedding_model_with_code_of_its_own(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Pooling: ...\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "own.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(sqlllm.ModelError, match=r"'own\.Pooling', which is not part of"):
        asked(folder, EMBEDS, "a")
    assert not (tmp_path / "ran").exists()


def test_a_cross_encoder(tmp_path: Path) -> None:
    folder = sentences(tmp_path)
    changed(folder / "config_sentence_transformers.json", model_type="CrossEncoder")
    with pytest.raises(sqlllm.ModelError, match="is a CrossEncoder, which makes no vectors"):
        asked(folder, EMBEDS, "a")


def test_a_prompt_before_every_text_takes_its_room(tmp_path: Path) -> None:
    prompts: dict[str, Any] = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    folder = sentences(tmp_path, **prompts)
    text = "x" * 56  # and `query: ` has 7 tokens
    assert asked(folder, EMBEDS, text + "a") != asked(folder, EMBEDS, text + "b")
    with pytest.raises(sqlllm.InputTooLong, match=r"has 58 tokens; .* reads at most 57"):
        asked(folder, EMBEDS, text + "ab")
    assert asked(folder, "SELECT ai.count_tokens('abc')") == 3


def test_special_tokens_of_a_prompt_are_meant(tmp_path: Path) -> None:
    """Those of a row are text, but where the model's own prompt has some."""
    prompts: dict[str, Any] = {"prompts": {"query": "<|im_start|>"}, "default_prompt_name": "query"}
    count = "SELECT ai.count_tokens('<|im_end|>')"
    assert asked(sentences(tmp_path / "plain"), count) == len("<|im_end|>")
    assert asked(sentences(tmp_path / "prompted", **prompts), count) == 1


@pytest.mark.parametrize(
    ("pooling", "width"),
    [
        ({"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
          "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, 64),
        ({"embedding_dimension": 32, "pooling_mode": ["mean", "max", "cls"]}, 96),
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, 32),
    ],
)  # fmt: skip
def test_how_wide_vectors_are_is_read_from_the_folder(
    tmp_path: Path, pooling: dict[str, Any], width: int
) -> None:
    kinds = ["Transformer", "Pooling", "Dense", "Normalize", "Unheard"]
    for kind in kinds:
        (tmp_path / kind).mkdir()
    (tmp_path / "Pooling" / "config.json").write_text(json.dumps(pooling))
    (tmp_path / "Dense" / "config.json").write_text('{"in_features": 32, "out_features": 8}')
    assert width_of(tmp_path) is None
    for count, expected in ((2, width), (4, 8), (5, None)):
        modules = [{"type": f"some.models.{kind}", "path": kind} for kind in kinds[:count]]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        assert width_of(tmp_path) == expected


def test_a_model_that_looks_words_up(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding

    table = StaticEmbedding(tiny.tokenizer().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[table]).save_pretrained(str(tmp_path))
    (expected,) = SentenceTransformer(str(tmp_path)).encode(["a b"], normalize_embeddings=True)
    assert asked(tmp_path, EMBEDS, "a b") == pytest.approx(expected.tolist(), abs=1e-6)
    assert asked(tmp_path, "SELECT ai.count_tokens($1)", "a b") == 3
    assert asked(tmp_path, "SELECT len(ai.embed($1))", "long " * 2000) == 8
    assert asked(tmp_path, "SELECT ai.count_tokens('<|im_end|>')") == len("<|im_end|>")
    assert asked(tmp_path, "SELECT ai.classify($1, ['a b', 'c d'])", "a b") == "a b"


def test_an_empty_text_of_which_nothing_is_to_be_read(tmp_path: Path) -> None:
    """It ended the query, with an IndexError."""
    (tiny.save("llama", tmp_path) / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    query = "SELECT list(ai.try_complete(x, max_tokens := 3)) FROM (VALUES ('a'), ('')) t(x)"
    some, none = asked(tmp_path, query)
    assert some["value"]
    assert none["error"].startswith("the text is empty")


@pytest.mark.parametrize("query", [WRITES, "SELECT ai.filter('a', 'b?')"])
@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('not me') }}", "not me"),
        ("{% for part in messages[0].content %}{{ part.text }}{% endfor %}", "leaves the message"),
    ],
)
def test_a_chat_template_that_writes_no_prompt(
    tmp_path: Path, template: str, message: str, query: str
) -> None:
    (tiny.save("llama", tmp_path) / "chat_template.jinja").write_text(template)
    with pytest.raises(sqlllm.ModelError, match=f"can't write a prompt: .*{message}"):
        asked(tmp_path, query)
