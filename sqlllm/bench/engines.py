"""Other engines, where they are installed: vLLM and llama.cpp."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlllm.bench.baselines import Rows, until
from sqlllm.bench.method import Skipped
from sqlllm.bench.models import Causal

MODULES = {"vllm": "vllm", "llamacpp": "llama_cpp"}

Write = Callable[[Rows, int], list[list[int]]]
"""Prompts and the most tokens of an answer -> tokens written."""


def start(kind: str, model: Causal, gguf: Path | None) -> Write:
    """An engine with the model loaded.

    Args:
        kind: A name of `MODULES`.
        model: Which.
        gguf: The same for llama.cpp.

    Raises:
        Skipped: It isn't installed, or doesn't start.
    """
    module = MODULES[kind]
    if not importlib.util.find_spec(module):
        msg = f"the package {module} is not installed"
        raise Skipped(msg)
    if kind == "llamacpp" and gguf is None:
        raise Skipped("llama.cpp needs a GGUF file of the model: give --gguf FILE")
    try:
        return _vllm(model) if kind == "vllm" else _llamacpp(gguf, model.ends)
    except Exception as error:  # an engine may fail to start in many ways
        msg = f"it did not start: {type(error).__name__}: {error}"
        raise Skipped(msg) from error


def _vllm(model: Causal) -> Write:
    """vLLM's offline engine on the same files, with its prefix cache."""
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found,unused-ignore]

    longest = min(4096, model.config.get_text_config().max_position_embeddings)
    engine = LLM(
        model=str(model.files),
        dtype=model.plain_dtype,
        load_format="auto" if model.folder else "dummy",
        enable_prefix_caching=True,
        max_model_len=longest,
        gpu_memory_utilization=0.5,  # the others' models are on the same device
        disable_log_stats=True,
    )

    def write(rows: Rows, limit: int) -> list[list[int]]:
        asked: Any = SamplingParams(
            temperature=0, max_tokens=limit, stop_token_ids=model.ends, detokenize=False
        )
        prompts = [{"prompt_token_ids": list(row)} for row in rows]
        outputs = engine.generate(prompts, asked, use_tqdm=False)
        return [until(list(output.outputs[0].token_ids), model.ends) for output in outputs]

    return write


def _llamacpp(gguf: Path | None, ends: Sequence[int]) -> Write:
    """llama.cpp row by row; what a prompt shares with the one before it is read once."""
    from llama_cpp import Llama  # type: ignore[import-not-found,unused-ignore]

    engine = Llama(model_path=str(gguf), n_ctx=4096, verbose=False)

    def write(rows: Rows, limit: int) -> list[list[int]]:
        written = []
        for row in rows:
            tokens: list[int] = []
            for token in engine.generate(list(row), temp=0.0):
                tokens.append(int(token))
                if token in ends or len(tokens) >= limit:
                    break
            written.append(until(tokens, ends))
        return written

    return write
