"""The tokens of a forward pass as tensors: packed rows, or a tree of labels behind each row."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from sqlllm.engine.attention import Step
from sqlllm.engine.slots import Slots

Wanted = Literal["all", "last", "none"]
"""Whose hidden states are asked for: all new tokens', the last one's of each row, nobody's."""


def causal(
    slots: Slots,
    first: int,
    new: Sequence[Sequence[int]],
    kept: Sequence[int],
    *,
    prefix: Slots | None,
    device: Any,
    wanted: Wanted = "all",
) -> tuple[Any, Step]:
    """Rows that go on where they were: each new token sees its row up to itself.

    Args:
        slots: Where keys and values go.
        first: The slot of the first row; the others follow.
        new: The new tokens of each row, at least one.
        kept: How many tokens of each row are there already.
        prefix: What all rows see before their own tokens, or None.
        device: Of the tensors.
        wanted: Whose hidden states are asked for.

    Returns:
        Token ids (T,), and the step.
    """
    counts, start = np.array([len(row) for row in new]), np.array(kept)
    width = int(counts.max())
    at = start[:, None] + np.arange(width)
    kept_at = np.arange(int((start + counts).max()))
    seen = kept_at <= np.minimum(at, (start + counts - 1)[:, None])[..., None]
    asked = None
    if wanted == "none":
        asked = np.array([], np.int64)
    elif wanted == "last" and width > 1:
        asked = counts.cumsum() - 1
    ids = np.concatenate([np.asarray(tokens, np.int64) for tokens in new])
    return _put(ids, device), _step(
        slots, first, counts, start, seen, at, np.tile(kept_at, (len(new), 1)),
        prefix=prefix, device=device, wanted=asked,
    )  # fmt: skip


def tree(
    slots: Slots,
    nodes: Sequence[int],
    above: np.ndarray[Any, np.dtype[np.bool_]],
    kept: Sequence[int],
    *,
    prefix: Slots | None,
    device: Any,
) -> tuple[Any, Step]:
    """The same tree of tokens behind every row: each node sees the row and what is above it.

    Tree attention: Miao et al., SpecInfer, arXiv 2305.09781.

    Args:
        slots: Where keys and values are and go.
        nodes: The tokens of the tree.
        above: Whether node j is node i or above it, shape (nodes, nodes), [i, j].
        kept: How many tokens each row has.
        prefix: As in `causal`.
        device: As in `causal`.

    Returns:
        Token ids (rows x nodes,), and the step.
    """
    count, start = len(nodes), np.array(kept)
    length = int(start.max()) + count
    at = start[:, None] - 1 + above.sum(1)  # a node stands as far behind its row as it is deep
    kept_at = np.tile(np.arange(length), (len(kept), 1))
    seen = np.zeros((len(kept), count, length), bool)
    for i, own in enumerate(kept):
        seen[i, :, :own] = True
        seen[i, :, own : own + count] = above
        kept_at[i, own : own + count] = at[i]
    ids = np.tile(np.asarray(nodes, np.int64), len(kept))
    counts = np.full(len(kept), count)
    step = _step(slots, 0, counts, start, seen, at, kept_at, prefix=prefix, device=device)
    return _put(ids, device), step


def _step(
    slots: Slots,
    first: int,
    counts: Any,
    start: Any,
    seen: Any,
    at: Any,
    kept_at: Any,
    *,
    prefix: Slots | None,
    device: Any,
    wanted: Any = None,
) -> Step:
    """Of rows with `counts` new tokens behind `start`; positions as they are without a prefix."""
    put = partial(_put, device=device)
    before = 0 if prefix is None else prefix.capacity
    width = at.shape[1]
    row = np.repeat(np.arange(len(counts)), counts)
    firsts = np.cumsum(counts) - counts
    offset = np.arange(len(row)) - firsts[row]
    return Step(
        slots=slots,
        first=first,
        rows=put(first + row),
        places=put(start[row] + offset),
        grid=put(firsts[:, None] + np.minimum(np.arange(width), counts[:, None] - 1)),
        back=None if int(counts.min()) == width else put(row * width + offset),
        seen=put(seen),
        at=put(before + at),
        kept_at=put(before + kept_at),
        last=before + int(at.max()),
        prefix=prefix,
        wanted=None if wanted is None else put(wanted),
    )


def _put(array: Any, device: Any) -> Any:
    import torch

    # Only CUDA copies at once what may be gone when the device gets to it.
    staged = torch.device(device).type == "cuda"
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=staged)
