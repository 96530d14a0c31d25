"""complete and extract against `generate`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlllm.bench import limits
from sqlllm.bench.method import OURS, Answered, Line, Method, Table, Workload
from sqlllm.bench.options import BASELINES
from sqlllm.bench.prompts import Language, Prompts
from sqlllm.bench.sql import quoted
from sqlllm.engine.prompt import completion_prompt, encode, extraction_prompt
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


def completing(language: Language) -> Workload:
    """`ai.complete` with a system message, `WRITTEN` tokens."""
    model = language.model
    tokenizer = model.tokenizer
    system = language.instruction(SYSTEM, partial(completion_prompt, tokenizer))
    call = f"ai.complete(x, system := {quoted(system)}, max_tokens := {WRITTEN})"
    rows = language.prompts(completion_prompt(tokenizer, system), language.options.rows)

    def agree(ours: list[str], theirs: list[list[int]], kind: str) -> dict[str, float]:
        if kind == OURS:
            return {}
        texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in theirs]
        pairs = list(zip(ours, texts, strict=False))
        shares = [
            _common(encode(tokenizer, a), encode(tokenizer, b)) if a != b else 1.0 for a, b in pairs
        ]
        return {
            "equal_texts": sum(a == b for a, b in pairs) / len(pairs),
            "equal_tokens_to_first_difference": sum(shares) / len(shares),
        }

    notes = [
        f"in {model.dtype}, two tokens that are nearly equally probable may change places "
        "between batch shapes; what follows then differs"
    ]
    if model.dtype == "float32":
        notes = []
    return _workload(language, "complete", call, rows, WRITTEN, agree, notes)


def extracting(language: Language) -> Workload:
    """`ai.extract` with a small schema, at most `EXTRACTED` tokens."""
    tokenizer, schema = language.model.tokenizer, json.dumps(SCHEMA)
    call = f"ai.extract(x, {quoted(schema)}, max_tokens := {EXTRACTED}, on_error := 'null')"
    prompt = extraction_prompt(tokenizer, Task("extract", schema=schema))

    def agree(_: Any, theirs: list[Any], kind: str) -> dict[str, float]:
        texts = theirs
        if kind != OURS:
            texts = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in theirs]
        return {"valid": sum(map(valid, texts)) / len(texts)}

    note = (
        "the others write freely, to the same limit: nothing holds them to the schema; they get "
        "the same prompt"
    )
    rows = language.prompts(prompt, language.options.extract_rows)
    return _workload(language, "extract", call, rows, EXTRACTED, agree, [note])


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
    language: Language,
    name: str,
    call: str,
    rows: Prompts,
    limit: int,
    agree: Callable[[Any, Any, str], dict[str, float]],
    notes: list[str],
) -> Workload:
    language.sql.table(f"{name}_rows", rows.texts)
    head, bodies = len(rows.prompt.head), [len(body) for body in rows.bodies]

    def parts(written: int) -> list[limits.Part]:
        # A row that wrote less than it might has also predicted the end token.
        predicted = [min(n + 1, limit) for n in limits.even(written, len(bodies))]
        return limits.writing(language.model.shape, head, bodies, predicted)

    def ours() -> Answered:
        seconds, answers, written = language.sql.ask(call, f"{name}_rows")
        return Answered(seconds, rows.tokens + written, limits.issued(parts(written)), answers)

    others, skipped = language.writers(BASELINES, rows, limit)
    methods = [Method(Line(f"ai.{name}", OURS, len(bodies)), ours, ours), *others]
    facts = {**rows.facts, "max_tokens": limit}
    table = Table.of(name, facts, methods, skipped, [*language.model.notes, *notes])
    return Workload(table, methods, lambda ours: parts(ours.tokens - rows.tokens), agree)


def _common(left: Sequence[int], right: Sequence[int]) -> float:
    """The share of tokens before the first difference."""
    same = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        same += 1
    return same / max(len(left), len(right), 1)
