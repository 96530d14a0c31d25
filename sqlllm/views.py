"""The rows of the system views: `ai.models`, `ai.functions`, `ai.cache`, `ai.usage`, ..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlllm.runtime.caches import file_cache, memory_cache
from sqlllm.runtime.runs import Runs
from sqlllm.runtime.runtime import Runtime
from sqlllm.runtime.upkeep import lanes
from sqlllm.settings import cache_path
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


def _cache(runtime: Runtime) -> list[dict[str, Any]]:
    kept = [("memory", memory_cache(runtime.settings).database)]
    if runtime.settings.cache not in ("off", "memory") and cache_path(runtime.settings).exists():
        kept.insert(0, ("file", file_cache(runtime.settings).file.database))
    return [{"place": place, **row} for place, database in kept for row in lanes(database)]


def _runs(runtime: Runtime) -> list[dict[str, Any]]:
    found = []
    for row in Runs(runtime.settings).rows():
        times = {
            name: datetime.fromtimestamp(row[name], UTC) if row[name] else None
            for name in ("started", "ended")
        }
        found.append({**row, **times})
    return found


VIEWS: Mapping[str, tuple[str, Callable[[Runtime], list[dict[str, Any]]]]] = {
    "models": ("name VARCHAR, uri VARCHAR, can VARCHAR[], about VARCHAR", _models),
    "functions": (
        "name VARCHAR, signature VARCHAR, returns VARCHAR, about VARCHAR, example VARCHAR",
        _functions,
    ),
    "cache": (
        "place VARCHAR, model VARCHAR, kind VARCHAR, question VARCHAR, fingerprint VARCHAR, "
        "answers BIGINT, bytes BIGINT, made TIMESTAMPTZ, used TIMESTAMPTZ",
        _cache,
    ),
    "usage": (
        '"query_id" BIGINT, "function" VARCHAR, model VARCHAR, "rows" BIGINT, '
        "distinct_inputs BIGINT, cached BIGINT, sent BIGINT, batches BIGINT, prompt_tokens BIGINT, "
        "completion_tokens BIGINT, seconds DOUBLE, errors BIGINT, cost DOUBLE, "
        "started TIMESTAMPTZ, this_session BOOLEAN, run VARCHAR",
        lambda runtime: runtime.ledger.usage(),
    ),
    "errors": (
        'query_id BIGINT, "function" VARCHAR, model VARCHAR, "input" VARCHAR, message VARCHAR, '
        '"at" TIMESTAMPTZ, this_session BOOLEAN, run VARCHAR',
        lambda runtime: runtime.ledger.failures(),
    ),
    "runs": (
        'run VARCHAR, job VARCHAR, script VARCHAR, "database" VARCHAR, pid BIGINT, '
        'started TIMESTAMPTZ, ended TIMESTAMPTZ, state VARCHAR, "statement" BIGINT, '
        'statements BIGINT, message VARCHAR, "rows" BIGINT, distinct_inputs BIGINT, '
        "cached BIGINT, sent BIGINT, prompt_tokens BIGINT, completion_tokens BIGINT, "
        "errors BIGINT, cost DOUBLE, versions VARCHAR, models VARCHAR",
        _runs,
    ),
}
"""View -> its columns as DuckDB types, and its rows."""
