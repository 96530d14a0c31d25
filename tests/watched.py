"""A model whose forward passes are counted, and fail where a test says so."""

from __future__ import annotations

from typing import Any

import pytest

from sqlllm.models.causal import CausalModel


class Watched:
    """Counts the tokens that a model reads; `fails` says at which passes memory runs out."""

    def __init__(self, model: CausalModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = self.passes = 0
        self.fails: set[int] = set()
        forward = model._engine._forward  # type: ignore[union-attr]

        def counted(ids: Any, step: Any) -> Any:
            self.passes += 1
            if self.passes in self.fails:
                raise MemoryError
            self.read += len(ids)
            return forward(ids, step)

        monkeypatch.setattr(model._engine, "_forward", counted)
