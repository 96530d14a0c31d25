"""`__ai_extract`: JSON of a given form."""

from __future__ import annotations

import json

import pyarrow as pa

from sqlllm.function import Call, function, scatter


@function(returns="VARCHAR")
def extract(call: Call, text: pa.Array) -> pa.Array:
    """JSON that is valid against the schema, for each text."""
    schema = call.options.get("schema")
    if isinstance(schema, dict):  # JSON or a struct, instead of text
        schema = json.dumps(schema, ensure_ascii=False)
    task = call.task(kind="extract", schema=schema, instruction=call.text("instruction"))
    answers = call.run(task, text)
    return scatter(answers, answers.dictionary)
