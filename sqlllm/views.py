"""The rows of the system views `ai.models`, `ai.functions`, `ai.usage` and `ai.errors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sqlllm.runtime.runtime import Runtime
from sqlllm.sql import definitions


def _models(runtime: Runtime) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "uri": uri,
            "can": list(cls.can_do()),
            "about": cls.about,
        }
        for name, cls, uri in runtime.registry
    ]


def _functions(_: Runtime) -> list[dict[str, Any]]:
    return [
        {
            "name": f"ai.{d.name}",
            "signature": d.signature,
            "returns": d.returns,
            "about": d.about,
            "example": d.example,
        }
        for d in definitions()
        if d.public
    ]


VIEWS: Mapping[str, tuple[str, Callable[[Runtime], list[dict[str, Any]]]]] = {
    "models": ("name VARCHAR, uri VARCHAR, can VARCHAR[], about VARCHAR", _models),
    "functions": (
        "name VARCHAR, signature VARCHAR, returns VARCHAR, about VARCHAR, example VARCHAR",
        _functions,
    ),
    "usage": (
        '"query_id" BIGINT, "function" VARCHAR, model VARCHAR, "rows" BIGINT, '
        "distinct_inputs BIGINT, cached BIGINT, sent BIGINT, batches BIGINT, prompt_tokens BIGINT, "
        "completion_tokens BIGINT, seconds DOUBLE, errors BIGINT",
        lambda runtime: [asdict(row) for row in runtime.ledger.usage()],
    ),
    "errors": (
        'query_id BIGINT, "function" VARCHAR, model VARCHAR, "input" VARCHAR, message VARCHAR',
        lambda runtime: [asdict(row) for row in runtime.ledger.failures()],
    ),
}
"""View -> its columns as DuckDB types, and its rows."""
