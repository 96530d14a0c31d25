"""The tokens of a forward pass as tensors: packed rows, or a tree of labels behind each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    before: int,
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
        before: Tokens in `prefix`.
        device: Of the tensors.
        wanted: Whose hidden states are asked for.

    Returns:
        Token ids (T,), and the step.
    """
    import torch

    counts, start = np.array([len(row) for row in new]), np.array(kept)
    width = int(counts.max())
    row, offset = _coordinates(counts)
    length = int((start + counts).max())
    seen = (
        np.arange(length)
        <= np.minimum(start[:, None] + np.arange(width), (start + counts - 1)[:, None])[..., None]
    )
    at = before + start[:, None] + np.arange(width)
    kept_at = np.tile(before + np.arange(length), (len(new), 1))
    ids = np.concatenate([np.asarray(tokens, np.int64) for tokens in new])
    places = start[row] + offset
    ids, step = _tensors(
        slots, first, ids, counts, row, offset, places, seen, at, kept_at, prefix, before, device
    )
    if wanted == "all" or (wanted == "last" and width == 1):
        return ids, step
    asked = counts.cumsum() - 1 if wanted == "last" else np.array([], np.int64)
    return ids, replace(step, wanted=torch.from_numpy(asked).to(device))


def tree(
    slots: Slots,
    nodes: Sequence[int],
    above: np.ndarray[Any, np.dtype[np.bool_]],
    kept: Sequence[int],
    *,
    prefix: Slots | None,
    before: int,
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
        before: As in `causal`.
        device: As in `causal`.

    Returns:
        Token ids (rows x nodes,), and the step.
    """
    count, start = len(nodes), np.array(kept)
    row, offset = _coordinates(np.full(len(kept), count))
    length = int(start.max()) + count
    seen = np.zeros((len(kept), count, length), bool)
    kept_at = np.tile(before + np.arange(length), (len(kept), 1))
    depth = above.sum(1)
    at = before + start[:, None] - 1 + depth
    for i, own in enumerate(kept):
        seen[i, :, :own] = True
        seen[i, :, own : own + count] = above
        kept_at[i, own : own + count] = at[i]
    ids = np.tile(np.asarray(nodes, np.int64), len(kept))
    counts = np.full(len(kept), count)
    places = start[row] + offset
    return _tensors(
        slots, 0, ids, counts, row, offset, places, seen, at, kept_at, prefix, before, device
    )


def _coordinates(counts: Any) -> tuple[Any, Any]:
    """The row of each token, and its place among the row's new ones."""
    row = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    return row, offset


def _tensors(
    slots: Slots,
    first: int,
    ids: Any,
    counts: Any,
    row: Any,
    offset: Any,
    places: Any,
    seen: Any,
    at: Any,
    kept_at: Any,
    prefix: Slots | None,
    before: int,
    device: Any,
) -> tuple[Any, Step]:
    import torch

    def put(array: Any) -> Any:
        # Only CUDA copies at once what may be gone when the device gets to it.
        staged = torch.device(device).type == "cuda"
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=staged)

    width = int(counts.max())
    starts = np.cumsum(counts) - counts
    grid = starts[:, None] + np.minimum(np.arange(width), counts[:, None] - 1)
    back = None if int(counts.min()) == width else put(row * width + offset)
    step = Step(
        slots=slots,
        first=first,
        rows=put(first + row),
        places=put(places),
        grid=put(grid),
        back=back,
        seen=put(seen),
        at=put(at),
        kept_at=put(kept_at),
        last=int(at.max()),
        prefix=prefix,
        before=before,
    )
    return put(ids), step
