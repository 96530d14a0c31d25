"""A text encoder that reads packed rows: no padding, from the first product to the last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

from sqlllm.engine.attention import scaled
from sqlllm.engine.linear import filled, rounded, speed_up, undo
from sqlllm.engine.trial import Unsuitable

NAME = "sqlllm_encoder"  # in transformers' register of attention functions

SHORT = 256
"""Tokens of a row up to which two matrix products and a softmax beat the CPU's flash kernel."""

SUMS = 1e-30, 1e35
"""Of exponentials, between which nothing that matters was lost: 1e-38 is 0, 3e38 infinite."""

Run = tuple[int, int, int]
"""Rows of one length: the first token, how many rows, tokens of each."""


def runs(lengths: Sequence[int]) -> list[Run]:
    """Rows that stand side by side and have the same length.

    Example:
        >>> runs([4, 4, 3])
        [(0, 2, 4), (8, 1, 3)]
    """
    found, at = [], 0
    for length, rows in groupby(lengths):
        count = len(list(rows))
        found.append((at, count, length))
        at += count * length
    return found


def attention(
    _: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    *,
    scaling: float | None = None,
    sqlllm_runs: Sequence[Run],
    sliding_window: int | None = None,
    **__: Any,
) -> tuple[Any, None]:
    """Each row over itself; transformers' encoders call it with (1, heads, T, size) each."""
    import torch

    if sliding_window:
        msg = "its layers attend to a window"
        raise NotImplementedError(msg)
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    count = sum(rows * length for _, rows, length in sqlllm_runs)  # those behind are nobody's
    q, k, v = (x[0, :, :count].transpose(0, 1) for x in (query, key, value))
    if has_kernel(query):
        return filled(_kernel(q, k, v, scale, sqlllm_runs)[None], query.shape[2]), None
    outs = []
    for at, rows, length in sqlllm_runs:
        part = slice(at, at + rows * length)
        outs.append(_alike(q[part], k[part], v[part], scale, rows))
    return filled(torch.cat(outs)[None], query.shape[2]), None


def _alike(query: Any, key: Any, value: Any, scale: float, rows: int) -> Any:
    """Rows of one length: (rows x length, heads, size) each, and so is what comes out."""
    import torch

    tokens, heads, size = query.shape
    length = tokens // rows
    q, k, v = (x.view(rows, length, heads, size).transpose(1, 2) for x in (query, key, value))
    if length > SHORT:
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)
    else:
        q, k, v = (x.reshape(rows * heads, length, size) for x in (q, k, v))
        out = _weighted(q, k, v, scale).view(rows, heads, length, size)
    return out.transpose(1, 2).flatten(0, 1)


def _weighted(query: Any, key: Any, value: Any, scale: float) -> Any:
    """softmax(q k scale) v of (n, length, size) each.

    A softmax in bfloat16 takes two to four times as long on a CPU as the exponentials alone, and
    with the range of float32 these seldom need the maximum taken off: only where a row's sum says
    that they grew or shrank too much. A text's scores in minilm reach 69.
    """
    import torch

    scores = scaled(query, key, scale)
    if scores.dtype == torch.bfloat16 and scores.device.type == "cpu":
        odds = scores.exp_()
        sums = odds.sum(-1, keepdim=True)
        least, most = sums.aminmax()
        if least > SUMS[0] and most < SUMS[1]:
            return torch.bmm(odds, value).div_(sums)
        scores = scaled(query, key, scale)
    return torch.bmm(scores.softmax(-1), value)


def has_kernel(query: Any) -> bool:
    """Whether torch has a kernel for packed rows of this kind."""
    import torch

    return query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16)


def _kernel(query: Any, key: Any, value: Any, scale: float, rows: Sequence[Run]) -> Any:
    """torch's kernel for packed rows on CUDA: one launch for all lengths."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    lengths = [length for _, count, length in rows for _ in range(count)]
    ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=query.device)
    # It scales by 1 / sqrt(size) itself.
    query = query * (scale * query.shape[2] ** 0.5)
    most = max(lengths)
    return varlen_attn(query, key, value, ends, ends, most, most)


class Encoder:
    """Runs an encoder of transformers with packed rows.

    Args:
        model: The encoder, on its device, in evaluation mode. Its attention is replaced in place
            until `restore`.
        plain: Leave its linear layers as they are.

    Raises:
        Unsuitable: It can't take another attention function.
    """

    def __init__(self, model: Any, *, plain: bool = False) -> None:
        from transformers import AttentionInterface

        if not getattr(model, "_supports_attention_backend", False):
            raise Unsuitable("has attention of its own")
        AttentionInterface.register(NAME, attention)
        self._model = model
        self._before = model.config._attn_implementation
        model.set_attn_implementation(NAME)
        self._changed = [] if plain else speed_up(model)
        self.first = 0  # the position of a row's first token

    def restore(self) -> None:
        """Give the model its own attention and layers back."""
        self._model.set_attn_implementation(self._before)
        undo(self._changed)

    def states(self, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
        """Hidden states, and which are of a row's own, for the pooling: both padded.

        Args:
            rows: Token ids with the special tokens; rows of one length side by side are read
                together.

        Returns:
            (rows, longest, size) in float32, zero where there is no token; and (rows, longest).
        """
        import torch

        lengths = [len(row) for row in rows]
        ids = torch.tensor([token for row in rows for token in row])
        places = torch.cat([torch.arange(length) for length in lengths])
        device = self._model.device
        run = rounded(len(ids), device.type)
        with torch.inference_mode():
            hidden = self._model(
                input_ids=filled(ids[None], run).to(device),
                position_ids=filled((places + self.first)[None], run).to(device),
                sqlllm_runs=runs(lengths),
            )[0][0, : len(ids)]
            mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
            mask = mask.to(device)
            padded = hidden.new_zeros(*mask.shape, hidden.shape[-1], dtype=torch.float32)
            padded[mask] = hidden.float()
        return padded, mask.long()
