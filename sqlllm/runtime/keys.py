"""What the cache knows an answer by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from sqlllm.models.base import Model
from sqlllm.runtime.answers import BLOCK, Array
from sqlllm.runtime.encoding import Form
from sqlllm.task import Task

KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
"""A key: 16 bytes of a text's cryptographic hash, since whoever writes a row must not choose it."""


def keys_of(texts: pa.Array) -> Array:
    """The key of each text, without NULL: an array of `KEY`.

    Example:
        >>> len(keys_of(pa.array(["a", "b"])))
        2
    """
    digests, start = [], hashlib.blake2b(digest_size=16)
    encoded = texts.cast(pa.large_binary())
    for at in range(0, len(texts), BLOCK):
        for text in encoded[at : at + BLOCK].to_pylist():
            key = start.copy()  # takes half the time of a new one
            key.update(text)
            digests.append(key.digest())
    return np.frombuffer(b"".join(digests), KEY)


@dataclass(frozen=True)
class Lane:
    """One task of one model: whose answers are found by the keys of texts.

    Args:
        model: The model.
        task: What is asked of it.
        half: Whether vectors are kept, and so answered, as float16.

    Example:
        >>> from sqlllm import FakeModel
        >>> lane = Lane(FakeModel(str), Task("embed"))
        >>> lane.form, len(lane.digest)
        ('float32', 16)
    """

    model: Model
    task: Task
    half: bool = False

    @property
    def form(self) -> Form:
        """How its answers are encoded."""
        if self.task.kind in ("complete", "extract"):
            return "text"
        return "float16" if self.half and self.task.kind == "embed" else "float32"

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that differ whenever an answer may differ."""
        start = self.model.fingerprint.encode() + b"\0" + self.task.key
        start += b"float16" if self.form == "float16" else b""
        return hashlib.blake2b(start, digest_size=16).digest()

    @property
    def question(self) -> str:
        """The task as JSON, without what is as it is by default; for `FROM ai.cache`."""
        usual = asdict(Task("embed"))
        parts = {name: value for name, value in asdict(self.task).items() if value != usual[name]}
        parts.pop("kind", None)
        parts |= {"vectors": self.form} if self.form == "float16" else {}
        return json.dumps(parts, ensure_ascii=False) if parts else ""
