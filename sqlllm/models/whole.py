"""Whether a folder holds what its model needs: libraries fill gaps with random numbers."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlllm.errors import ModelError


def check_language(folder: Path, missing: Collection[str], kinds: Collection[str]) -> None:
    """Refuse a model that writes nothing, such as BERT's, and one without some of its weights.

    Args:
        folder: The model's folder.
        missing: The weights that are not in its files.
        kinds: The architectures that its configuration names.

    Raises:
        ModelError: Its answers would be random, or mean nothing.
    """
    hint = "an embedding model's folder has a modules.json"
    if missing:
        raise lacking(folder, "a language model", missing, f"; {hint}")
    if any(kind.endswith("ForMaskedLM") for kind in kinds):
        msg = f"the model in {folder} fills gaps in a text; a language model continues it"
        raise ModelError(msg, hint=hint)


def lacking(folder: Path, kind: str, missing: Collection[str], hint: str = "") -> ModelError:
    """The error for a model without some of its weights, which would be random."""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    msg = f"the files in {folder} lack weights of {kind}: {min(missing)}{more}"
    return ModelError(msg, hint=f"it is a model of another kind, or not whole{hint}")


def unset(model: Any) -> list[str]:
    """Make what was not in the files of a transformers model no numbers, in place of random ones.

    Of what comes out, that which is a number then doesn't depend on them: many embedding models
    lack a pooler, which nobody asks.

    Args:
        model: As `from_pretrained` has made it, which marks the weights that it has read.

    Returns:
        The names of the weights.
    """
    weights = dict(model.named_parameters())
    missing = [name for name, w in weights.items() if not getattr(w, "_is_hf_initialized", False)]
    if len(missing) == len(weights):  # a model that some other code has read
        return []
    for name in missing:
        weights[name].data.fill_(float("nan"))
    return missing


def check_sentences(folder: Path) -> None:
    """Refuse what sentence-transformers would make an embedding model of, and pickled weights.

    Raises:
        ModelError: It is no embedding model, or its weights are no safetensors.
    """
    try:
        text = (folder / "config_sentence_transformers.json").read_text(encoding="utf-8")
        kind = json.loads(text).get("model_type", "SentenceTransformer")
    except FileNotFoundError:  # older ones have none
        kind = "SentenceTransformer"
    if kind != "SentenceTransformer":
        msg = f"the model in {folder} is a {kind}, which makes no vectors of texts"
        raise ModelError(msg, hint="name an embedding model")
    for path in folder.rglob("pytorch_model*.bin"):
        if not any(path.parent.glob("*.safetensors")):
            msg = f"{path} holds pickled weights; only safetensors are read"
            hint = "load the model with sentence-transformers, and save it by save_pretrained"
            raise ModelError(msg, hint=hint)


def check_words(tokenizer: Any, tokens: Collection[int], folder: Path, model: Any = None) -> None:
    """Refuse a tokenizer that knows no words, as libraries make where a folder has none.

    And one of another model, that knows more than its model does. Special tokens don't count:
    Gemma 3's has one for images, also where the model reads only text.

    Args:
        tokenizer: The model's.
        tokens: What it makes of a text.
        folder: The model's folder.
        model: Of transformers, as its tokenizer; None: the tokenizer is made for the model.

    Raises:
        ModelError: All texts would be the same to the model, or some would make it fail.
    """
    if model is not None:
        rows = model.get_input_embeddings().weight.shape[0]
        special = {at for at, token in tokenizer.added_tokens_decoder.items() if token.special}
        words = {at: word for word, at in tokenizer.get_vocab().items() if at not in special}
        if words and max(words) >= rows:
            most = max(words)
            msg = f"the tokenizer in {folder} is not the model's, which knows {rows} tokens"
            msg += f": {words[most]!r} is number {most}"
            raise ModelError(msg, hint="copy the tokenizer there that the model was trained with")
    if set(tokens) <= set(getattr(tokenizer, "all_special_ids", ())):
        msg = f"the tokenizer in {folder} knows no words"
        raise ModelError(msg, hint="copy the model's tokenizer.json, or what it has for it, there")
