"""Models that an earlier process has loaded: known by their files, loaded when they are asked.

Loading torch and a model takes seconds; a query whose answers are all in the cache needs neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from sqlllm.errors import ModelError
from sqlllm.models.base import ANSWERS, Batch, Model
from sqlllm.task import Task

PACKAGES = ("sqlllm", "torch", "transformers", "sentence-transformers")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is asked of a model that isn't loaded; as in `Model`."""

    fingerprint: str
    window: int | None
    note: str
    reads_prompts: bool

    @classmethod
    def of(cls, model: Model) -> Facts:
        """Of a loaded model."""
        return cls(model.fingerprint, model.window, model.note, model.reads_prompts)


class Memo(Protocol):
    """Keeps facts about models for other processes. It may forget them."""

    def get(self, signature: str) -> Facts | None:
        """What was kept last."""

    def put(self, signature: str, facts: Facts) -> None:
        """Keep them."""


def signature(folder: Path, dtype: str | None = None) -> str:
    """What decides a model's facts, as far as can be told without loading it.

    Its files by name, size and time of change; the precision that was asked for; where it would
    run; and the code that would run it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [
        str(folder.resolve()),
        [(str(path.relative_to(folder)), *_state(path)) for path in files],
        ANSWERS,
        dtype,
        [version(package) for package in PACKAGES],
        [platform.node(), platform.machine(), Path("/dev/nvidiactl").exists()],
        os.environ.get("CUDA_VISIBLE_DEVICES"),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class Unloaded(Model):
    """Stands for a model of which facts are known, and loads it when it is asked something.

    Args:
        facts: What is known.
        load: Gives the model.
        learn: Told the facts of the model that was loaded, where they are others.
    """

    def __init__(
        self, facts: Facts, load: Callable[[], Model], learn: Callable[[Facts], None]
    ) -> None:
        self._load = load
        self._learn = learn
        self._model: Model | None = None
        self._know(facts)

    def _know(self, facts: Facts) -> None:
        self.fingerprint, self.window, self.note = facts.fingerprint, facts.window, facts.note
        self.reads_prompts = facts.reads_prompts

    def answer(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """What the model answers."""
        return self._loaded().answer(task, inputs)

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text, without special tokens."""
        return self._loaded().count_tokens(inputs)

    def behind(self, task: Task) -> list[int]:
        """Of each question of a task, the tokens that stand behind a text that comes first."""
        return self._loaded().behind(task)

    def blocks(self, inputs: Sequence[str]) -> Generator[int, None, None]:
        """How many of the inputs to ask all questions about before the next ones."""
        return self._loaded().blocks(inputs)

    def room(self) -> int | None:
        """Most tokens of a text that `embed` reads, special ones aside; None: no limit known."""
        return self._loaded().room()

    def _loaded(self) -> Model:
        if self._model is None:
            self._model = self._load()
        model = self._model
        model.name = self.name
        if model.fingerprint != self.fingerprint:
            before, facts = self.fingerprint, Facts.of(model)
            self._know(facts)
            self._learn(facts)
            msg = f"model {self.name!r} is not the one it was: {before} became {self.fingerprint}"
            raise ModelError(
                msg, hint="run the query again; the answers of the former one are not used"
            )
        return model
