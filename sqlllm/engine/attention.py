"""Attention of packed rows over a shared prefix and their own keys, behind transformers' models.

A forward pass gets the new tokens of all rows one behind the other, as one sequence: matrix
products see no padding. What a token may look at has two parts, and each is read once:

* the prefix, that all rows share: one product for all tokens (Hydragen, arXiv 2402.05099);
* its row's own tokens, kept in `Slots`.

The two are merged by their log-sum-exps: o = (e^a o_a + e^b o_b) / (e^a + e^b).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlllm.engine.linear import filled
from sqlllm.engine.slots import Slots

NAME = "sqlllm"  # in transformers' register of attention functions
FLASH = True  # use the CPU's kernel
SCORES = 1 << 27  # scores that are in memory at once where no kernel avoids that


class Written(Exception):
    """Keys and values are kept; nothing more was to be done (`Step.only_writes`)."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one forward pass needs to know besides the tokens.

    T new tokens of B rows; a row has at most N of them, and at most L tokens in all. A pass may run
    more than T: those behind are nobody's.

    Attributes:
        slots: Where the rows' keys and values are: in B slots, from `first` on.
        first: The slot of the first row.
        rows: The slot of each token, shape (T,).
        places: Where in its slot each token goes, (T,).
        grid: The tokens of each row, (B, N): indices into the T, any where there is none.
        back: Where in `grid`, read row by row, each token is, (T,); None: they are in order.
        seen: Which of the L each new token sees, (B, N, L), bool.
        at: Positions of the new tokens, (B, N).
        kept_at: Positions of the L tokens, (B, L).
        last: The largest position.
        prefix: One row's slots that all rows see, full, or None.
        wanted: The tokens whose hidden states are asked for, indices into the T: the last of each
            row, or none; None: all.
        only_writes: Stop with `Written` where keys and values are kept.
        windows: Those that layers have named, for who asks afterwards.
    """

    slots: Slots
    first: int
    rows: Any
    places: Any
    grid: Any
    back: Any
    seen: Any
    at: Any
    kept_at: Any
    last: int
    prefix: Slots | None = None
    wanted: Any = None
    only_writes: bool = False
    windows: set[int] = field(default_factory=set)
    masks: dict[Any, Any] = field(default_factory=dict)  # made by the first layer that needs one

    def positions(self) -> Any:
        """Of the new tokens, (T,)."""
        at = self.at.flatten()
        return at if self.back is None else at[self.back]

    def own_mask(self, window: int | None, group: int, dtype: Any) -> Any:
        """For `_own`, to be added to scores: (B, 1, N x group, L)."""
        key = ("own", window, group)
        if key not in self.masks:
            seen = self.seen
            if window:
                seen = seen & (self.kept_at[:, None, :] > self.at[:, :, None] - window)
            self.masks[key] = additive(seen, dtype).repeat_interleave(group, 1)[:, None]
        return self.masks[key]

    def prefix_mask(self, window: int, group: int, dtype: Any) -> tuple[Any, Any]:
        """For `_prefix`: (1, 1, T x group, tokens of it), and which tokens see none of it, (T,).

        Those look at everything, so that there are numbers, which the merge then ignores.
        """
        assert self.prefix is not None
        key = ("prefix", window, group)
        if key not in self.masks:
            at = self.positions()
            places = at.new_ones(self.prefix.capacity).cumsum(0) - 1
            seen = places[None] > at[:, None] - window
            unseen = ~seen.any(-1)
            mask = additive(seen | unseen[:, None], dtype).repeat_interleave(group, 0)
            self.masks[key] = mask[None, None], unseen
        found: tuple[Any, Any] = self.masks[key]
        return found


def attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any = None,
    *,
    scaling: float | None = None,
    sqlllm_step: Step,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Any = None,
    **_: Any,
) -> tuple[Any, None]:
    """The function that transformers' attention modules call: (1, heads, T, size) each.

    `s_aux` is a score per head for looking at nothing (attention sinks, as in gpt-oss). Anything
    else that a module passes is ignored: whether a model may run here is decided by comparing
    with its own forward pass (`Engine`).
    """
    import torch

    step, layer = sqlllm_step, module.layer_idx
    run, count = query.shape[2], len(step.rows)
    query, key, value = (part[:, :, :count] for part in (query, key, value))
    heads, size = query.shape[1], query.shape[3]
    scale = size**-0.5 if scaling is None else scaling
    group = heads // key.shape[1]
    if sliding_window:
        step.windows.add(sliding_window)
    window = sliding_window if sliding_window and step.last >= sliding_window else None
    step.slots.write(
        layer, step.rows, step.places, key[0].transpose(0, 1), value[0].transpose(0, 1)
    )
    if step.only_writes:
        raise Written
    # Heads that share keys behind each other, as more tokens: (T, group, key heads, size). It is
    # how the CPU's kernel lays out what it returns, so that nothing is copied until the end.
    tokens = query[0].transpose(0, 1).unflatten(1, (-1, group)).transpose(1, 2).contiguous()
    out, lse = _own(step, layer, tokens, scale, window, softcap)
    if step.prefix is not None:
        other, other_lse = _prefix(step, layer, tokens, scale, window, softcap)
        out = _merged(out, lse, other, other_lse)
        lse = lse if s_aux is None else torch.logaddexp(lse, other_lse)
    if s_aux is not None:
        sinks = s_aux.view(-1, group).T
        out = out * (lse - sinks).sigmoid().unsqueeze(-1).to(out.dtype)
    return filled(out.transpose(1, 2).reshape(1, count, heads, -1), run), None


def _own(
    step: Step, layer: int, tokens: Any, scale: float, window: int | None, softcap: float | None
) -> tuple[Any, Any]:
    """Over the row's own tokens: (T, group, key heads, size) and (T, group, key heads)."""
    rows = step.grid.shape[0]
    keys, values = step.slots.read(layer, step.first, rows, step.seen.shape[2])
    laid = tokens if step.back is None else tokens[step.grid.flatten()]
    mask = step.own_mask(window, tokens.shape[1], tokens.dtype)
    out, lse = _attend(laid, rows, keys, values, scale, mask, softcap)
    return (out, lse) if step.back is None else (out[step.back], lse[step.back])


def _prefix(
    step: Step, layer: int, tokens: Any, scale: float, window: int | None, softcap: float | None
) -> tuple[Any, Any]:
    """Over the prefix, as `_own`."""
    assert step.prefix is not None
    keys, values = step.prefix.read(layer, 0, 1, step.prefix.capacity)
    mask, unseen = None, None
    if window:
        mask, unseen = step.prefix_mask(window, tokens.shape[1], tokens.dtype)
    out, lse = _attend(tokens, 1, keys, values, scale, mask, softcap)
    if unseen is not None:
        lse = lse.masked_fill(unseen[:, None, None], float("-inf"))
    return out, lse


def _attend(
    tokens: Any, rows: int, keys: Any, values: Any, scale: float, mask: Any, softcap: float | None
) -> tuple[Any, Any]:
    """`attend` of as many tokens for each of the rows, in the shapes of `_own`."""
    count, group, heads, size = tokens.shape
    laid = tokens.reshape(rows, -1, heads, size).transpose(1, 2)
    out, lse = attend(laid, keys, values, scale, mask, softcap)
    out = out.transpose(1, 2).reshape(count, group, heads, -1)
    return out, lse.transpose(1, 2).reshape(count, group, heads)


def _merged(out: Any, lse: Any, other: Any, other_lse: Any) -> Any:
    import torch

    weight = torch.sigmoid(other_lse - lse).unsqueeze(-1)
    return torch.lerp(out.float(), other.float(), weight).to(out.dtype)


def additive(seen: Any, dtype: Any) -> Any:
    """A mask to add to scores: 0 where `seen`, else minus infinity."""
    import torch

    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
        ~seen, float("-inf")
    )


def attend(
    query: Any, key: Any, value: Any, scale: float, mask: Any = None, softcap: float | None = None
) -> tuple[Any, Any]:
    """softmax(q k / sqrt(d)) v and the log-sum-exp of the scores.

    Args:
        query: (rows, heads, n, size).
        key: (rows, heads, length, size).
        value: As `key`.
        scale: 1 / sqrt(d), as a rule.
        mask: Added to the scores, broadcast to (rows, heads, n, length); or None.
        softcap: Scores become softcap * tanh(score / softcap) (Gemma 2).

    Returns:
        (rows, heads, n, size), and (rows, heads, n) in float32.
    """
    import torch

    if FLASH and query.device.type == "cpu" and not softcap:
        # What scaled_dot_product_attention runs on the CPU; it alone doesn't return the second.
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        out, lse = flash(query, key, value, 0.0, False, attn_mask=mask, scale=scale)
        return out, lse
    rows, heads, count, _ = query.shape
    part = max(SCORES // (rows * heads * key.shape[2]), 1)
    if count > part:
        parts = [
            attend(query[:, :, i : i + part], key, value, scale, _rows(mask, i, part), softcap)
            for i in range(0, count, part)
        ]
        outs, lses = zip(*parts, strict=True)
        return torch.cat(outs, 2), torch.cat(lses, 2)
    q, k, v = (part.flatten(0, 1) for part in (query, key, value))
    scores = scaled(q, k, scale)
    if softcap:
        scores = softcap * torch.tanh(scores.float() / softcap)
    scores = scores.view(rows, heads, count, -1)
    if mask is not None:
        scores += mask
    odds = scores.softmax(-1, dtype=torch.float32)
    # The largest of the odds is e^(score - lse): `logsumexp` would take all exponentials anew.
    lse = scores.amax(-1) - odds.amax(-1).log()
    out = torch.bmm(odds.flatten(0, 1).to(v.dtype), v)
    return out.view(rows, heads, count, -1), lse


def scaled(query: Any, key: Any, scale: float) -> Any:
    """Scores in one step: (n, a, size) and (n, b, size) to (n, a, b)."""
    import torch

    nothing = query.new_zeros(1, 1, 1).expand(len(query), query.shape[1], key.shape[1])
    return torch.baddbmm(nothing, query, key.transpose(1, 2), beta=0, alpha=scale)


def _rows(mask: Any, first: int, count: int) -> Any:
    return None if mask is None else mask[:, :, first : first + count]


def register() -> str:
    """Make `attention` known to transformers; the name to give to `set_attn_implementation`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)
    return NAME
