"""`__ai_sentiment`: how a text feels about its subject, or about each of several aspects."""

from __future__ import annotations

import json

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.errors import CallError
from sqlllm.function import function
from sqlllm.udfs.classify import likeliest

SENTIMENTS = ("positive", "negative", "neutral", "mixed")

# Film reviews with smollm2, score of positive less score of negative: AUC 0.82; without the
# instruction 0.73, with a description per label 0.79.
QUESTION = "What is the sentiment of the text?"


@function(returns="VARCHAR")
def sentiment(call: Call, text: pa.Array) -> pa.Array:
    """A label; with `aspects`, a JSON object of aspect -> label, or null where nothing is said."""
    aspects = call.texts("aspects")
    if call.options.get("aspects") is not None:
        return _of_aspects(call, aspects, text)
    task = call.task(kind="choose", labels=SENTIMENTS, instruction=QUESTION)
    return likeliest(call, task, text)


def _of_aspects(call: Call, aspects: tuple[str, ...], text: pa.Array) -> pa.Array:
    if not aspects or any(not aspect.strip() for aspect in aspects):
        msg = f"aspects must be a list of names, not {list(aspects)!r}"
        raise CallError(msg, hint="write aspects := ['price', 'service']")
    label = {"enum": [*SENTIMENTS, None]}
    schema = {
        "type": "object",
        "properties": dict.fromkeys(aspects, label),
        "required": list(dict.fromkeys(aspects)),
        "additionalProperties": False,
    }
    asked = "What is the sentiment of the text about each of these? Null where it says nothing."
    task = call.task(kind="extract", schema=json.dumps(schema), instruction=asked)
    return call.run(task, text).dictionary_decode()
