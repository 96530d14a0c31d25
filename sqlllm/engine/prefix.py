"""Keys and values of the tokens that every row of a task begins with, computed once."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any


def shareable(config: Any) -> bool:
    """Whether every layer attends to everything before it, so that a prefix can be shared."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"} and not getattr(config, "sliding_window", None)


class Prefixes:
    """The prefixes of the latest tasks.

    Args:
        model: A causal language model.
        kept: How many.
    """

    def __init__(self, model: Any, kept: int = 4) -> None:
        self._model = model
        self._kept = kept
        self._caches: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def expanded(self, tokens: tuple[int, ...], rows: int) -> Any:
        """A cache of the prefix for `rows` rows, to be written to; None for no tokens."""
        if not tokens:
            return None
        if tokens not in self._caches:
            self._caches[tokens] = self._compute(tokens)
        self._caches.move_to_end(tokens)
        while len(self._caches) > self._kept:
            self._caches.popitem(last=False)
        cache = copy.deepcopy(self._caches[tokens])
        cache.batch_repeat_interleave(rows)
        return cache

    def _compute(self, tokens: tuple[int, ...]) -> Any:
        import torch
        from transformers import DynamicCache

        cache = DynamicCache()
        ids = torch.tensor([tokens], device=self._model.device)
        self._model.model(input_ids=ids, past_key_values=cache, use_cache=True)
        return cache
