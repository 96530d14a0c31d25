"""What a model makes of positions: rotations that change with the longest, and windows."""

from __future__ import annotations

from typing import Any


def rotations(model: Any, *kinds: str) -> list[Any]:
    """The modules whose rotations are of these kinds, by transformers' names (`rope_type`)."""
    found = [(module, str(getattr(module, "rope_type", ""))) for module in model.modules()]
    return [module for module, name in found if any(kind in name for kind in kinds)]


def most_positions(model: Any) -> int | None:
    """Up to where its rotations are the same for every text; None: they always are.

    With longrope (Phi-3 for 128k tokens) a longer text turns the others beside it, and what was
    read before, by other angles.
    """
    most = [_original(module) for module in rotations(model, "longrope")]
    return min(most, default=None)


def window(config: Any) -> int | None:
    """How many positions some of its layers look back, by its configuration; None: all."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if "sliding_attention" not in kinds or getattr(config, "use_sliding_window", True) is False:
        return None
    found: int | None = getattr(config, "sliding_window", None)
    return found


def _original(module: Any) -> int:
    given = module.config.rope_parameters
    each = [given, *(part for part in given.values() if isinstance(part, dict))]
    longest = [part for part in each if part.get("rope_type") == "longrope"]
    return min(int(part["original_max_position_embeddings"]) for part in longest)
