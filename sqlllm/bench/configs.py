"""Shapes of models that random weights are made for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlllm.errors import ConfigError, did_you_mean

CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "mistral-7b": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "sliding_window": None,
        "tie_word_embeddings": False,
    },
    "llama-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,  # so that labels differ in more than the last bit
    },
}
"""Shapes of published models, to be filled with random weights."""


def config_of(given: str, tokenizer: Any) -> Any:
    """The transformers configuration, with room for the tokenizer's tokens."""
    from transformers import AutoConfig

    values = config_values(given)
    values["vocab_size"] = max(values.get("vocab_size", 0), len(tokenizer))
    ids = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    return AutoConfig.for_model(**{**values, **ids})


def config_values(given: str) -> dict[str, Any]:
    """A name of `CONFIGS`, or what stands in a file.

    Raises:
        ConfigError: `given` is neither.
    """
    if given in CONFIGS:
        return dict(CONFIGS[given])
    if not Path(given).is_file():
        msg = f"no configuration {given!r}"
        raise ConfigError(msg, hint=f"{did_you_mean(given, CONFIGS)}, or give a config.json")
    try:
        values = json.loads(Path(given).read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"{given} is not JSON: {error}"
        raise ConfigError(msg) from error
    if not isinstance(values, dict) or "model_type" not in values:
        msg = f"{given} has no `model_type`"
        raise ConfigError(msg, hint="give the config.json of a transformers model")
    return values
