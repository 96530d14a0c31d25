"""What `sqlllm bench` measures, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.models.uri import DTYPES

LANGUAGE = ("classify", "filter", "complete", "extract")
WORKLOADS = (*LANGUAGE, "embed", "memory")
BASELINES = ("rows", "static", "continuous", "vllm", "llamacpp")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one run.

    Attributes:
        model: Language model that SQL can name.
        embed_model: Embedding model that SQL can name.
        config: Random weights instead of `model`: a name of `CONFIGS` or a config.json.
        dtype: One of `models.uri.DTYPES`; None: what the model's URI says, or else what sqlllm
            takes on this machine. Beside int8, others run in the latter; embed has no int8.
        rows: Rows of classify, filter, complete and extract.
        embed_rows: Rows of embed.
        rounds: How often everything is measured.
        only: Which workloads; None: all, without the slow memory where it should be quick.
        baselines: Against what.
        gguf: The same model for llama.cpp.
        memory_model: For the memory of classify and filter: a name of `CONFIGS`, or a model that
            SQL can name.
        quick: Small sizes, to see that everything works.
    """

    model: str = "smollm2"
    embed_model: str = "minilm"
    config: str | None = None
    dtype: str | None = None
    rows: int = 512
    embed_rows: int = 2048
    rounds: int = 3
    only: Sequence[str] | None = None
    baselines: Sequence[str] = BASELINES
    gguf: Path | None = None
    memory_model: str = "tiny"
    quick: bool = False

    def __post_init__(self) -> None:
        """Refuse values that can't work."""
        for name in ("rows", "embed_rows", "rounds"):
            if getattr(self, name) < 1:
                msg = f"{name} must be 1 or more, not {getattr(self, name)!r}"
                raise ConfigError(msg)
        _known(self.only or (), WORKLOADS, "workload")
        _known(self.baselines, BASELINES, "baseline")
        if self.dtype not in (None, *DTYPES):
            msg = f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}"
            raise ConfigError(msg)
        if self.dtype == "int8" and "embed" in (self.only or ()):
            msg = "embed doesn't run in int8"
            raise ConfigError(msg, hint="measure it without --dtype int8")
        if self.gguf is not None and not self.gguf.is_file():
            msg = f"there is no file {str(self.gguf)!r}"
            raise ConfigError(msg, hint="give the GGUF file of the model that is measured")

    @property
    def workloads(self) -> Sequence[str]:
        """What is measured."""
        usual = WORKLOADS[:-1] if self.quick else WORKLOADS
        return self.only or [name for name in usual if name != "embed" or self.dtype != "int8"]

    @property
    def language(self) -> Sequence[str]:
        """Those of them that ask the language model, in their usual order."""
        return [name for name in LANGUAGE if name in self.workloads]

    def on(self, rows: int) -> int:
        """The number of rows, small where only a quick look is asked for."""
        return min(rows, 8) if self.quick else rows

    def row_by_row(self, device: str) -> int:
        """Rows that are asked one at a time: enough for a rate, few enough to wait for."""
        return 2 if self.quick else min(self.rows, 128 if device == "cuda" else 32)

    def in_turn(self, device: str) -> int:
        """Rows of continuous batching: on a CPU it is slower than all else."""
        return 4 if self.quick else min(self.rows, self.rows if device == "cuda" else 64)

    @property
    def extract_rows(self) -> int:
        """Fewer: each row writes four times as much as in complete."""
        return 2 if self.quick else max(self.rows // 4, 1)

    @property
    def memory_rows(self) -> tuple[int, int]:
        """Rows of the small and of the large run that are compared."""
        return (200, 2_000) if self.quick else (10_000, 100_000)


def _known(given: Sequence[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            msg = f"unknown {what} {name!r}"
            raise ConfigError(msg, hint=did_you_mean(name, known))
