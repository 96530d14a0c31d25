"""What a competent user of transformers and sentence-transformers would write.

All have the same token ids and precision as ours, inference mode, rows sorted by length, padding
on the left and their best batch size among a few.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlllm.bench.method import Skipped

Rows = Sequence[Sequence[int]]

SIZES = {"cpu": (8, 32, 128), "mps": (8, 32, 128), "cuda": (32, 128, 512)}
"""Batch sizes that are tried; the fastest is used."""

PAGE = 16  # tokens; the default of 256 would share nothing of a shorter instruction
PACKED = 512  # tokens of a step of continuous batching on a CPU, where its mask is quadratic


def label_logits(model: Any, rows: Rows, labels: Sequence[int], size: int) -> Any:
    """Logits of the labels' tokens at each prompt's last position, float32, on the CPU.

    The whole prompts in batches of `size`, without a cache, and only the labels' rows of the
    output matrix: less work than `logits_to_keep=1`, and no ties from logits in bfloat16.
    """
    import torch

    found = torch.zeros(len(rows), len(labels))
    with torch.inference_mode():
        weight = model.get_output_embeddings().weight[list(labels)].float()
        for batch in batches(rows, size):
            ids, mask, places = left_padded([rows[row] for row in batch], model.device)
            hidden = model.base_model(
                input_ids=ids, attention_mask=mask, position_ids=places, use_cache=False
            ).last_hidden_state[:, -1]
            found[batch] = (hidden.float() @ weight.T).cpu()
    return found


def generated(
    model: Any, rows: Rows, size: int, *, limit: int, ends: Sequence[int]
) -> list[list[int]]:
    """Greedy tokens of `generate` in batches of `size`, without the end token."""
    import torch

    written: list[list[int]] = [[] for _ in rows]
    settings = greedy(limit, ends)
    with torch.inference_mode():
        for batch in batches(rows, size):
            ids, mask, _ = left_padded([rows[row] for row in batch], model.device)
            if mask is None:
                mask = torch.ones_like(ids)
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
            for row, tokens in zip(batch, out[:, ids.shape[1] :].tolist(), strict=True):
                written[row] = until(tokens, ends)
    return written


def continuous(model: Any, rows: Rows, *, limit: int, ends: Sequence[int]) -> list[list[int]]:
    """Greedy tokens of `generate_batch`, transformers' continuous batching."""
    from dataclasses import fields

    try:
        from transformers.generation.configuration_utils import ContinuousBatchingConfig
    except ImportError as error:
        raise Skipped("this transformers has no ContinuousBatchingConfig") from error
    known = {item.name for item in fields(ContinuousBatchingConfig)}
    options = {("page_size" if "page_size" in known else "block_size"): PAGE}
    if model.device.type == "cpu":
        # Its default takes 60 % of the memory for the cache: room for all rows is enough.
        pages = sum(-(-(len(row) + limit) // PAGE) for row in rows)
        options |= {"num_blocks": pages + 8, "max_batch_tokens": PACKED}
    found = model.generate_batch(
        [list(row) for row in rows],
        generation_config=greedy(limit, ends),
        continuous_batching_config=ContinuousBatchingConfig(**options),
        progress_bar=False,
    )
    answers = list(found.values())
    failed = [answer.error for answer in answers if answer.error]
    if len(answers) != len(rows) or failed:  # it logs errors and goes on
        reason = failed[0] if failed else f"{len(rows) - len(answers)} rows have no answer"
        msg = f"generate_batch failed: {reason}"
        raise Skipped(msg)
    return [until(answer.generated_tokens, ends) for answer in answers]


def greedy(limit: int, ends: Sequence[int]) -> Any:
    """A generation configuration without sampling."""
    from transformers import GenerationConfig

    return GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
    )


def until(tokens: Sequence[int], ends: Sequence[int]) -> list[int]:
    """The tokens before the first end token.

    Example:
        >>> until([5, 6, 2, 2], ends=[2])
        [5, 6]
    """
    stop = next((at for at, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:stop])


def batches(rows: Sequence[Sequence[Any]], size: int) -> Iterator[list[int]]:
    """Positions in batches of `size`, the longest rows first, so that memory is known at once."""
    order = sorted(range(len(rows)), key=lambda row: -len(rows[row]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def left_padded(rows: Rows, device: Any) -> tuple[Any, Any, Any]:
    """Ids, mask and positions; no mask where nothing is padded, which is the faster path."""
    import torch

    width = max(map(len, rows))
    if min(map(len, rows)) == width:
        return torch.tensor([list(row) for row in rows], device=device), None, None
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(list(row))
        mask[i, width - len(row) :] = 1
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    return ids.to(device), mask.to(device), places.to(device)


def best_size(run: Callable[[int], int], device: str, rows: int) -> int:
    """The batch size with the least time per row.

    Args:
        run: Answers some rows in batches of that size, and says how many.
        device: Where.
        rows: How many there are.
    """
    import torch

    sizes = [size for size in SIZES[device] if size <= rows] or [rows]
    run(sizes[0])  # the first call pays for what is set up once
    best, least = sizes[0], float("inf")
    for size in sizes:
        started = time.perf_counter()
        try:
            count = run(size)
        except torch.OutOfMemoryError:
            break
        seconds = (time.perf_counter() - started) / count
        if seconds < least:
            best, least = size, seconds
    return best
