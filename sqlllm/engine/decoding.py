"""Text after a prompt: greedy, or sampled with random numbers of the row's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from sqlllm.engine.prefix import Prefixes


def decode(
    model: Any,
    prefixes: Prefixes,
    head: tuple[int, ...],
    bodies: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    ends: frozenset[int],
    stopped: Callable[[list[int]], bool],
    temperature: float,
    draws: Sequence[Any],
) -> list[list[int]]:
    """Tokens written after each row, without the end token.

    Args:
        model: A causal language model.
        prefixes: Keys and values of heads.
        head: Tokens that all rows begin with.
        bodies: The rest of each row.
        max_tokens: Most tokens written per row.
        ends: Tokens that end an answer.
        stopped: Whether an answer so far holds a stop string.
        temperature: 0 is greedy.
        draws: A `torch.Generator` per row.
    """
    import torch

    rows, width, before = len(bodies), max(map(len, bodies)), len(head)
    ids = torch.zeros(rows, width, dtype=torch.long)
    mask = torch.zeros(rows, before + width, dtype=torch.long)
    mask[:, :before] = 1
    for row, body in enumerate(bodies):
        ids[row, width - len(body) :] = torch.tensor(body)
        mask[row, before + width - len(body) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    places = (mask.cumsum(-1) - 1).clamp(min=0)[:, before:]
    past = prefixes.expanded(head, rows)
    written: list[list[int]] = [[] for _ in bodies]
    active = list(range(rows))
    for _ in range(max_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=past,
            use_cache=True,
            logits_to_keep=1,
        )
        past = out.past_key_values
        chosen = _pick(out.logits[:, -1].float(), temperature, [draws[row] for row in active])
        keep = []
        for i, (row, token) in enumerate(zip(active, chosen.tolist(), strict=True)):
            if token not in ends:
                written[row].append(token)
                if not stopped(written[row]):
                    keep.append(i)
        if not keep:
            break
        if len(keep) < len(active):  # finished rows leave the batch
            index = torch.tensor(keep, device=ids.device)
            past.batch_select_indices(index)
            chosen, mask, places = chosen[index], mask[index], places[index]
            active = [active[i] for i in keep]
        ids, places = chosen[:, None], places[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
    return written


def generator(seed: int, text: str) -> Any:
    """Random numbers decided by the seed and the row alone, whatever the batch."""
    import torch

    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def _pick(logits: Any, temperature: float, draws: Sequence[Any]) -> Any:
    import torch

    if not temperature:
        return logits.argmax(-1)
    odds = (logits / temperature).softmax(-1).cpu()
    tokens = [torch.multinomial(o, 1, generator=g) for o, g in zip(odds, draws, strict=True)]
    return torch.cat(tokens).to(logits.device)
