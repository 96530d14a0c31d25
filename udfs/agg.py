"""`__ai_agg`, `__ai_summarize_agg`: one answer about all texts of a group."""

from __future__ import annotations

from itertools import groupby

import pyarrow as pa

from sqlllm.call import Call, key_of
from sqlllm.errors import CallError
from sqlllm.function import function
from sqlllm.reduce import Reduction, blame, numbered, prompts
from sqlllm.udfs.summarize import answer_tokens, manner

ROWS = 2000
"""Most tokens of rows in a prompt. Models miss what is in the middle of long prompts (Liu et al.,
Lost in the Middle, 2023), small ones long before their window ends; and a group of many rows then
fills a batch with prompts of one length."""


@function(takes="VARCHAR[]", returns="VARCHAR")
def agg(call: Call, texts: pa.Array) -> pa.Array:
    """An answer to the instruction from all texts of each list."""
    instruction = call.text("instruction").strip()
    if not instruction:
        msg = "the instruction is empty"
        raise CallError(msg, hint="write what to do with the rows, such as 'name the main topics'")
    return _about(call, texts, instruction)


@function(takes="VARCHAR[]", returns="VARCHAR")
def summarize_agg(call: Call, texts: pa.Array) -> pa.Array:
    """A summary of all texts of each list."""
    return _about(call, texts, f"Summarise what the rows say{manner(call)}")


def _about(call: Call, texts: pa.Array, instruction: str) -> pa.Array:
    reduction = Reduction.of(
        call,
        f"{instruction}\n\nUse only the rows, or what was answered about parts of them.",
        f"{instruction}\n\nThere are more rows than these: answer about these alone, and keep "
        "what it takes to combine the answers.",
        numbered("Rows:"),
        numbered("Answers about parts of the rows; combine them:"),
        most=ROWS,
        answer=answer_tokens(call),
    )
    in_order = call.flag("in_order")
    rows = texts.to_pylist()
    keys = [key_of(row) for row in rows]
    made = prompts(call, [_pieces(row, in_order=in_order) for row in rows], keys, reduction)
    answers = call.run(reduction.final, pa.array(made, pa.string()))
    for key, prompt in zip(keys, made, strict=True):
        blame(call, key, [prompt])
    return answers.dictionary_decode()


def _pieces(texts: list[str | None] | None, *, in_order: bool) -> list[str]:
    """The texts, sorted unless they are in the user's order; equal neighbours once."""
    known = [text for text in texts or () if text is not None]
    runs = [
        (text, sum(1 for _ in run)) for text, run in groupby(known if in_order else sorted(known))
    ]
    return [text if times == 1 else f"({times} times) {text}" for text, times in runs]
