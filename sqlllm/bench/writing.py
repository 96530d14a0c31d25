"""complete and extract against `generate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlllm.bench import limits
from sqlllm.bench.method import OURS, Answered, Method, Workload
from sqlllm.bench.models import Causal
from sqlllm.bench.options import Options
from sqlllm.bench.prompts import Writers, instruction, prompts
from sqlllm.bench.sql import Sql, quoted
from sqlllm.engine.prompt import Prompt, completion_prompt, encode, extraction_prompt
from sqlllm.task import Task

WRITTEN = 16
EXTRACTED = 64
SYSTEM = "You answer messages from customers of a shop in one short, polite and helpful sentence."
SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["payment", "delivery", "product", "other"]},
        "urgent": {"type": "boolean"},
        "items": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["topic", "urgent", "items"],
    "additionalProperties": False,
}
KINDS = ("rows", "static", "continuous", "vllm", "llamacpp")


def completing(model: Causal, sql: Sql, options: Options, writers: Writers) -> Workload:
    """`ai.complete` with a system message, `WRITTEN` tokens."""
    count = model.tokenizer
    system = instruction(model, options, SYSTEM, lambda text: completion_prompt(count, text))
    call = f"ai.complete(x, system := {quoted(system)}, max_tokens := {WRITTEN})"
    prompt = completion_prompt(count, system)

    def agree(ours: list[str], theirs: list[list[int]], kind: str) -> dict[str, float]:
        if kind == OURS:
            return {}
        texts = [count.decode(tokens, skip_special_tokens=True) for tokens in theirs]
        pairs = list(zip(ours, texts, strict=False))
        shares = [_common(encode(count, a), encode(count, b)) if a != b else 1.0 for a, b in pairs]
        found = {
            "equal_texts": sum(a == b for a, b in pairs) / len(pairs),
            "equal_tokens_to_first_difference": sum(shares) / len(shares),
        }
        return {"batch_size": writers.batch_size(WRITTEN), **found} if kind == "static" else found

    made = _workload("complete", call, prompt, model, sql, options, writers, WRITTEN, agree)
    if model.dtype != "float32":
        made.notes.append(
            f"in {model.dtype}, two tokens that are nearly equally probable may change places "
            "between batch shapes; what follows then differs"
        )
    return made


def extracting(model: Causal, sql: Sql, options: Options, writers: Writers) -> Workload:
    """`ai.extract` with a small schema, at most `EXTRACTED` tokens."""
    schema = json.dumps(SCHEMA)
    call = f"ai.extract(x, {quoted(schema)}, max_tokens := {EXTRACTED}, on_error := 'null')"

    def agree(ours: list[str | None], theirs: list[list[int]], kind: str) -> dict[str, float]:
        if kind == OURS:
            return {"valid": sum(map(valid, ours)) / len(ours)}
        texts = [model.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in theirs]
        found = {"valid": sum(map(valid, texts)) / len(texts)}
        return {"batch_size": writers.batch_size(EXTRACTED), **found} if kind == "static" else found

    made = _workload(
        "extract",
        call,
        extraction_prompt(model.tokenizer, Task("extract", schema=schema)),
        model,
        sql,
        options,
        writers,
        EXTRACTED,
        agree,
    )
    made.notes.append(
        "the others write freely, to the same limit: nothing holds them to the schema; they get "
        "the same prompt"
    )
    return made


def valid(text: str | None) -> bool:
    """Whether an answer is JSON that fits `SCHEMA`.

    Example:
        >>> valid('{"topic": "other", "urgent": true, "items": 2}')
        True
        >>> valid('{"topic": "other", "urgent": "yes", "items": 2}')
        False
    """
    try:
        value = json.loads(text or "")
    except json.JSONDecodeError:
        return False
    return (
        isinstance(value, dict)
        and value.keys() == {"topic", "urgent", "items"}
        and value["topic"] in ("payment", "delivery", "product", "other")
        and isinstance(value["urgent"], bool)
        and isinstance(value["items"], int)
        and not isinstance(value["items"], bool)
        and 0 <= value["items"] <= 99
    )


def _workload(
    name: str,
    call: str,
    prompt: Prompt,
    model: Causal,
    sql: Sql,
    options: Options,
    writers: Writers,
    limit: int,
    agree: Callable[[Any, Any, str], dict[str, float]],
) -> Workload:
    rows = prompts(
        model, options, prompt, options.extract_rows if name == "extract" else options.rows
    )
    sql.table(f"{name}_rows", rows.texts)
    bodies = [len(body) for body in rows.bodies]

    def parts(written: int) -> list[limits.Part]:
        # A row that wrote less than it might has also predicted the end token.
        predicted = [min(n + 1, limit) for n in limits.even(written, len(bodies))]
        return limits.writing(model.shape, len(prompt.head), bodies, predicted)

    def ours() -> Answered:
        seconds, answers, _, written = sql.ask(call, f"{name}_rows")
        return Answered(
            seconds=seconds,
            rows=len(answers),
            tokens=sum(map(len, rows.whole)) + written,
            flops=limits.issued(parts(written)),
            answers=answers,
        )

    methods, skipped = writers.add(KINDS, rows, limit)
    whole = sum(map(len, rows.whole))
    return Workload(
        name=name,
        rows=len(bodies),
        facts={**rows.facts, "max_tokens": limit},
        least=lambda answered: parts(answered.tokens - whole),
        methods=[Method(f"ai.{name}", OURS, ours, ours), *methods],
        agree=agree,
        skipped=skipped,
        notes=model.notes,
    )


def _common(left: Sequence[int], right: Sequence[int]) -> float:
    """The share of tokens before the first difference."""
    same = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        same += 1
    return same / max(len(left), len(right), 1)
