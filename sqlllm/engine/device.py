"""Where a model runs, and in which precision."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from sqlllm.errors import ConfigError


def device() -> str:
    """`cuda`, `mps` or `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def precision(place: str) -> str:
    """The fastest that the hardware multiplies natively: `bfloat16`, `float16` or `float32`.

    On a Zen 4 core bfloat16 is 2.1 to 2.4 times faster than float32; without hardware it is slower.
    """
    import torch

    if place == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"
    if place == "mps":
        return "float16"
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if known.get("architecture") == "x86_64":  # a fact, where a measurement could change its mind
        return "bfloat16" if known.get("avx512_bf16") or known.get("amx_bf16") else "float32"
    return "bfloat16" if 1.3 * _seconds(torch.bfloat16) < _seconds(torch.float32) else "float32"


def no_numbers(dtype: Any) -> ConfigError:
    """The error for a model whose numbers are too large for its precision, or aren't any."""
    name = str(dtype).removeprefix("torch.")
    half = name == "float16"
    hint = "add `?dtype=float32` to its URI" if half else "see whether its files are whole"
    return ConfigError(f"the model's numbers aren't finite in {name}", hint=hint)


def _seconds(dtype: Any) -> float:
    """For a matrix product, the best of a few."""
    import torch

    side = torch.ones(512, 512, dtype=dtype)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        side @ side
        taken.append(time.perf_counter() - start)
    return min(taken)


def model_digest(folder: Path) -> str:
    """A hash of weights, configuration and tokenizer: what decides answers, for cache keys."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*")):
        if path.suffix not in READ or path.name == MANIFEST or not path.is_file():
            continue
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


READ = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""How the files end that transformers and sentence-transformers read."""

MANIFEST = "sqlllm.json"
"""Of what a folder was made; in it."""
