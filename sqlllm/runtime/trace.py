"""A log line and an OpenTelemetry span for every call that asked a model; never a text."""

from __future__ import annotations

import importlib.util
import logging
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlllm.runtime.asking import Asking
from sqlllm.runtime.statements import Statements
from sqlllm.runtime.usage import COUNTS

OPERATIONS = {
    "complete": "text_completion",
    "choose": "text_completion",
    "extract": "text_completion",
    "embed": "embeddings",
}
"""The names of the GenAI semantic conventions for what a task asks."""


SHOWN = (
    "function", "run", "rows", "distinct_inputs", "cached", "sent", "batches", "errors", "cost",
)  # fmt: skip
"""What a span has of ours, where those conventions have no name for it."""


def context() -> Any:
    """The span that runs here, for spans that begin on DuckDB's threads; None without one."""
    module = sys.modules.get("opentelemetry.context")
    current = getattr(module, "get_current", None)  # another thread may be importing it just now
    return current() if current is not None else None


def report(
    asking: Asking, run: str | None, statements: Statements, error: BaseException | None
) -> None:
    """Tell of a call that is over, to the logger `sqlllm.runtime` and to OpenTelemetry."""
    usage = asking.usage
    if not usage.sent:
        return
    names = ("function", "model", *COUNTS, "query_id")
    fields: dict[str, Any] = {name: getattr(usage, name) for name in names}
    fields |= {"run": run, "error": type(error).__name__ if error is not None else None}
    logging.getLogger("sqlllm.runtime").info(
        "%s · %s: %d sent, %d cached, %.1f s",
        usage.function,
        usage.model,
        usage.sent,
        usage.cached,
        usage.seconds,
        extra=fields,
    )
    if _is_installed():
        _span(asking, fields, statements.contexts.get(asking.caller.connection_id))


@cache
def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False


def _span(asking: Asking, fields: Mapping[str, Any], parent: Any) -> None:
    from opentelemetry import trace

    usage, task = asking.usage, asking.task
    operation = OPERATIONS[task.kind]
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "sqlllm",
        "gen_ai.request.model": usage.model,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.request.temperature": task.temperature,
        "gen_ai.request.max_tokens": task.max_tokens,
        "error.type": fields["error"],
        **{f"sqlllm.{name}": fields[name] for name in SHOWN},
    }
    ended = time.time_ns()
    span = trace.get_tracer("sqlllm").start_span(
        f"{operation} {usage.model}",
        context=parent,
        kind=trace.SpanKind.CLIENT if asking.model.remote else trace.SpanKind.INTERNAL,
        attributes={name: value for name, value in attributes.items() if value is not None},
        start_time=ended - int(usage.seconds * 1e9),
    )
    if fields["error"] is not None:
        span.set_status(trace.StatusCode.ERROR)
    span.end(ended)
