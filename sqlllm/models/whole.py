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
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        msg = f"the files in {folder} lack weights of a language model: {min(missing)}{more}"
        raise ModelError(msg, hint=f"it is a model of another kind, or not whole; {hint}")
    if any(kind.endswith("ForMaskedLM") for kind in kinds):
        msg = f"the model in {folder} fills gaps in a text; a language model continues it"
        raise ModelError(msg, hint=hint)


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


def check_words(tokenizer: Any, tokens: Collection[int], folder: Path) -> None:
    """Refuse a tokenizer that knows no words, as libraries make where a folder has none.

    Args:
        tokenizer: The model's.
        tokens: What it makes of a text.
        folder: The model's folder.

    Raises:
        ModelError: All texts would be the same to the model.
    """
    if set(tokens) <= set(getattr(tokenizer, "all_special_ids", ())):
        msg = f"the tokenizer in {folder} knows no words"
        raise ModelError(msg, hint="copy the model's tokenizer.json, or what it has for it, there")
