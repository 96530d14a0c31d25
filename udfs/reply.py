"""`__ai_reply`: what a text answers to a question, or NULL."""

from __future__ import annotations

import json

import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"answer": {"type": ["string", "null"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
)
INSTRUCTION = (
    "Answer the question from the context alone, in few words. "
    "Write null if the context doesn't say."
)


@function(returns="VARCHAR")
def reply(call: Call, text: pa.Array) -> pa.Array:
    """The answer to question and context, which are one text; NULL where there is none."""
    task = call.task(kind="extract", schema=SCHEMA, instruction=INSTRUCTION)
    answers = call.run(task, text)
    found = map(_answer, answers.dictionary.to_pylist())
    return scatter(answers, pa.array(found, pa.string()))


def _answer(row: str | None) -> str | None:
    """NULL, too, where a model that isn't held to the schema wrote something else."""
    read = json.loads(row) if row is not None else None
    found = read.get("answer") if isinstance(read, dict) else None
    return found if isinstance(found, str) else None
