"""`__ai_summarize`: what a text says, in short."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.errors import CallError
from sqlllm.function import Call, function, scatter
from sqlllm.reduce import ANSWER, Reduction, numbered, prompts


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
    answers = call.run(reduction.final, _shortened(call, text, reduction))
    return scatter(answers, answers.dictionary)


def _shortened(call: Call, text: pa.Array, reduction: Reduction) -> pa.Array:
    """The texts, with the summaries of its parts in place of each that is too long."""
    if not pc.any(pc.greater(pc.binary_length(text), reduction.room)).as_py():
        return text
    distinct = text.dictionary_encode()
    texts = distinct.dictionary
    long = pc.greater(pc.binary_length(texts), reduction.room)
    made = prompts(call, [[each] for each in texts.filter(long).to_pylist()], reduction)
    texts = pc.replace_with_mask(texts, long, pa.array(made, texts.type))
    return texts.take(distinct.indices)


def _whole(pieces: Sequence[str]) -> str:
    return "\n\n".join(pieces)


def manner(call: Call) -> str:
    """How the summary should be, as the end of a sentence."""
    words, style = _words(call), call.text("style").strip()
    limit = f" in at most {words} words" if words is not None else ""
    return f"{limit}. Style: {style.rstrip('.')}." if style else f"{limit}."


def answer_tokens(call: Call) -> int:
    """Room for the answer: three tokens a word are enough in most languages."""
    words = _words(call)
    return ANSWER if words is None else 3 * words + 16


def _words(call: Call) -> int | None:
    words = call.options.get("max_words")
    if words is not None and (not isinstance(words, int) or isinstance(words, bool) or words < 1):
        msg = f"max_words must be a whole number of 1 or more, not {words!r}"
        raise CallError(msg)
    return words
