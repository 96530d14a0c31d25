"""`__ai_embed`: vectors."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.function import Call, function, scatter


@function(returns="FLOAT[]")
def embed(call: Call, text: pa.Array) -> pa.Array:
    """A vector of unit length per text."""
    answers = call.run(call.task(kind="embed"), text)
    return scatter(answers, answers.dictionary)
