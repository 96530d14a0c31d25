"""What fits: free memory, batches that follow it, and what to do when it runs out."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.filesize import decimal

from sqlllm.engine.batching import by_tokens
from sqlllm.engine.device import precision
from sqlllm.engine.worker import beside
from sqlllm.errors import ConfigError, ModelError, first_line

Result = TypeVar("Result")

SHARE = 0.5
"""Of the free memory that a batch is planned for; the rest is for activations and neighbours."""


CGROUP = Path("/sys/fs/cgroup")  # version 2, of a container

VOCABULARY = ("embed", "lm_head", "wte")
"""What the names of matrices have that hold a row per token of the vocabulary."""


def free_bytes(device: str) -> int:
    """Memory that can still be taken, on the device or in the machine or its container."""
    import torch

    if device.startswith("cuda"):
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = CGROUP / "memory.max"
    if limit.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int((CGROUP / "memory.current").read_text()) + _cached())
    return max(free, 0)


def _cached() -> int:
    """What counts as the container's, but goes when it is needed: pages of files, as of weights."""
    counts = dict(map(str.split, (CGROUP / "memory.stat").read_text().splitlines()))
    return int(counts["active_file"]) + int(counts["inactive_file"])


def check_weights(folder: Path, dtype: str, device: str, name: str) -> None:
    """Refuse a model that can't fit, before it is loaded.

    Raises:
        ConfigError: Its weights are larger than the free memory; it says how large.
    """
    needed = _weights(folder, dtype, precision(device))
    free = free_bytes(device)
    if needed > free:
        msg = (
            f"model {name!r} needs {decimal(needed)} for its weights in {dtype}; "
            f"{decimal(free)} are free on {device}"
        )
        raise ConfigError(msg, hint="name a smaller model, or free memory")


def _weights(folder: Path, dtype: str, rest: str) -> int:
    """Bytes of the weights once they are `dtype`, whatever the files hold.

    In int8, matrices are; those of the vocabulary are `rest` as well, and all else is only that.
    """
    from safetensors import safe_open

    def each(name: str, shape: Sequence[int]) -> int:
        if dtype != "int8":
            return _width(dtype)
        if any(word in name for word in VOCABULARY):
            return _width(rest) + 1
        return 1 if len(shape) == 2 else _width(rest)

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                shape = file.get_slice(name).get_shape()
                total += math.prod(shape) * each(name, shape)
    return total


def _width(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def ran_out(error: BaseException) -> bool:
    """Whether torch could not allocate: it has a class of its own for CUDA only.

    What the failed pass held is then let go: the error's frames would keep it while it is tried
    again with less.
    """
    import torch

    words = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
    found = isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )
    if found:
        traceback.clear_frames(error.__traceback__)
    return found


def release() -> None:
    """Give cached blocks back to the device, so that smaller ones fit."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass
class Budget:
    """How much goes into one forward pass. Halved when memory runs out, for good.

    Attributes:
        tokens: Most tokens, unless a single row has more.
        rows: Most rows that are written at once.
    """

    tokens: int
    rows: int

    def halve(self, *, tokens: int | None = None, rows: int | None = None) -> None:
        """From now on, use half of what was just too much."""
        if tokens is not None:
            self.tokens = max(min(tokens, self.tokens) // 2, 1)
        if rows is not None:
            self.rows = max(min(rows, self.rows) // 2, 1)
        release()


def halving(
    lengths: Mapping[int, int],
    budget: Budget,
    run: Callable[[list[int]], Result],
    spare: Callable[[], Mapping[int, int] | None] = lambda: None,
    *,
    at_once: int = 1,
) -> Iterator[tuple[list[int], Result]]:
    """Run batches within the budget; one that doesn't fit in memory is run in parts.

    Args:
        lengths: Row -> tokens.
        budget: Halved when memory runs out.
        run: What to do with the rows of a batch, in a thread of the models.
        spare: Frees what can be made again, before batches are halved: the lengths that the rows
            have then, or None where there is nothing.
        at_once: How many batches run side by side.

    Raises:
        ModelError: A single row doesn't fit.
    """

    def tried(rows: list[int]) -> Result | _NoRoom:
        try:
            return run(rows)
        except Exception as error:
            if not ran_out(error):
                raise
            return _NoRoom(error)

    left = dict(lengths)
    while left:
        batches = list(by_tokens(left, budget.tokens, at_once))
        at_once = min(at_once, len(batches))
        for rows, result in beside(tried, batches, at_once):
            if not isinstance(result, _NoRoom):
                yield rows, result
                for row in rows:
                    del left[row]
            elif (longer := spare()) is not None:
                left = {row: longer[row] for row in left}
                break
            elif len(rows) == 1 and at_once > 1:
                at_once = 1  # what ran beside it may have had the room
                break
            elif len(rows) == 1:
                raise no_room(left[rows[0]], result.error) from result.error
            else:
                budget.halve(tokens=len(rows) * left[rows[0]])
                break


@dataclass(frozen=True)
class _NoRoom:
    """In place of a batch's result."""

    error: Exception


def no_room(tokens: int, error: Exception) -> ModelError:
    """The error for a single row that doesn't fit."""
    return ModelError(
        f"memory ran out over a single text of {tokens} tokens: {first_line(error)}",
        hint="use a smaller model, or `truncate := true` with shorter texts",
    )


def rows_that_fit(needed: int, device: str, most: int) -> int:
    """How many rows of `needed` bytes of keys and values to hold at once, up to so many.

    Raises:
        ModelError: Not even one fits.
    """
    free = free_bytes(device)
    if needed > free:
        msg = f"one text needs {decimal(needed)} for keys and values; {decimal(free)} are free"
        raise ModelError(msg, hint="use a smaller model, shorter texts or fewer `max_tokens`")
    return max(1, min(int(free * SHARE) // max(needed, 1), most))
