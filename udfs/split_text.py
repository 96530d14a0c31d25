"""`__ai_split_text`: a text in chunks that a model can read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.errors import CallError, ConfigError, excerpt
from sqlllm.function import ARROW, function
from sqlllm.task import Task

if TYPE_CHECKING:
    from sqlllm.models.base import Model

CHUNKS = 'STRUCT(chunk VARCHAR, start BIGINT, "end" BIGINT, tokens BIGINT)[]'

MOST = 256
"""Tokens of a chunk where the call doesn't say: a vector stands for a passage, not for a chapter,
also where the model would read one."""


@function(returns=CHUNKS)
def split_text(call: Call, text: pa.Array) -> pa.Array:
    """The chunks of each text, in order."""
    model = call.model_for(Task("embed"))
    most = call.task(kind="embed").max_tokens or min(MOST, model.room() or MOST)
    overlap = call.whole("overlap") or 0
    if not 0 <= overlap < most:
        msg = f"overlap must be 0 or more and less than the {most} tokens of a chunk, not {overlap}"
        raise CallError(msg)
    distinct = text.dictionary_encode()
    splitter = _splitter(model, most, overlap, markdown=call.flag("markdown"))
    chunks = list(_split(model, splitter, distinct.dictionary.to_pylist(), most))
    return scatter(distinct, pa.array(chunks, ARROW[CHUNKS]))


def _split(
    model: Model, splitter: Any, texts: list[str], most: int
) -> Iterator[list[dict[str, Any]]]:
    found = [splitter.chunk_indices(text) for text in texts]
    counts = iter(model.count_tokens([chunk for _, chunk in chain.from_iterable(found)]))
    for chunks in found:
        rows = []
        for start, chunk in chunks:
            tokens = next(counts)
            if tokens > most:  # a character of several tokens
                msg = f"{excerpt(chunk)} has {tokens} tokens and can't be cut into chunks of {most}"
                raise CallError(msg, hint=f"let max_tokens be {tokens} or more")
            end = start + len(chunk)
            rows.append({"chunk": chunk, "start": start, "end": end, "tokens": tokens})
        yield rows


def _splitter(model: Model, most: int, overlap: int, *, markdown: bool) -> Any:
    """Of the library, with the model's own count: every model has one, and special tokens in a
    text are text to it. Handing over the tokenizer itself is 1.6 times faster and counts them
    otherwise."""
    try:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter
    except ImportError as error:
        msg = "ai.split_text needs the package semantic-text-splitter"
        raise ConfigError(msg, hint="run `pip install 'sqlllm[search]'`") from error
    kind = MarkdownSplitter if markdown else TextSplitter
    return kind.from_callback(lambda text: model.count_tokens([text])[0], most, overlap)
