"""How many numbers an embedding model's vectors have, read from its folder without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SAME = ("Transformer", "Normalize", "Dropout", "LayerNorm")
"""Modules of sentence-transformers that leave the width as it is."""


def width_of(folder: Path) -> int | None:
    """The width of a sentence-transformers model's vectors.

    Args:
        folder: The model's folder.

    Returns:
        None where the folder doesn't say: it is no such model, or has a module not known here.

    Example:
        >>> from sqlllm.models.sentence import minilm_folder
        >>> width_of(minilm_folder())
        384
    """
    width: int | None = None
    for module in _read(folder / "modules.json") or ():
        kind = str(module["type"]).rpartition(".")[2]
        config = _read(folder / module["path"] / "config.json") or {}
        if kind == "Pooling":
            width = _pooled(config)
        elif kind == "Dense":
            width = config.get("out_features")
        elif kind not in SAME:
            return None
    return width


def _pooled(config: dict[str, Any]) -> int | None:
    """Of several ways of pooling, the vectors stand one after the other."""
    width = config.get("word_embedding_dimension") or config.get("embedding_dimension")
    named = config.get("pooling_mode")
    ways = len(named) if isinstance(named, list) else 1
    flags = [on for name, on in config.items() if name.startswith("pooling_mode_")]
    return width and width * (sum(map(bool, flags)) if flags else ways)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
