"""`__ai_summarize`: what a text says, in short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Call
from sqlllm.errors import CallError
from sqlllm.function import function
from sqlllm.reduce import ANSWER, Reduction, blame, numbered, prompts


@function(returns="VARCHAR")
def summarize(call: Call, text: pa.Array) -> pa.Array:
    """A summary of each text; what is too long for a prompt is summarised part by part."""
    reduction = Reduction.of(
        call,
        f"Summarise the text{manner(call)} Say only what it says.",
        "Summarise this part of a longer text in a few sentences. Keep names, numbers and results.",
        _whole,
        numbered("Summaries of the parts of one text, in order:"),
        answer=answer_tokens(call),
    )
    parts = _too_long(text, reduction.room)
    made = prompts(call, [[each] for each in parts], parts, reduction)
    answers = call.run(reduction.final, _replaced(text, dict(zip(parts, made, strict=True))))
    for each, prompt in zip(parts, made, strict=True):
        blame(call, each, [prompt])
    return answers.dictionary_decode()


def _too_long(text: pa.Array, room: int) -> list[str]:
    """The distinct texts that may not fit: a token is a byte at least."""
    long: list[str] = text.filter(pc.greater(pc.binary_length(text), room)).unique().to_pylist()
    return long


def _replaced(text: pa.Array, made: Mapping[str, str | None]) -> pa.Array:
    if not made:
        return text
    distinct = text.dictionary_encode()
    texts = [made.get(each, each) for each in distinct.dictionary.to_pylist()]
    return pa.array(texts, text.type).take(distinct.indices)


def _whole(pieces: Sequence[str]) -> str:
    return "\n\n".join(pieces)


def manner(call: Call) -> str:
    """How the summary should be, as the end of a sentence."""
    words, style = _words(call), call.text("style").strip()
    limit = f" in at most {words} words" if words is not None else ""
    return f"{limit}. Style: {style.rstrip('.')}." if style else f"{limit}."


def answer_tokens(call: Call) -> int:
    """Room for the answer: three tokens a word are enough in most languages."""
    return max(ANSWER, 3 * (_words(call) or 0))


def _words(call: Call) -> int | None:
    words = call.options.get("max_words")
    if words is not None and (not isinstance(words, int) or isinstance(words, bool) or words < 1):
        msg = f"max_words must be a whole number of 1 or more, not {words!r}"
        raise CallError(msg)
    return words
