"""`__ai_count_tokens`: how long a text is for a model."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.call import Call, scatter
from sqlllm.function import function
from sqlllm.task import Task


@function(returns="BIGINT")
def count_tokens(call: Call, text: pa.Array) -> pa.Array:
    """Tokens of each text, without special tokens."""
    model = call.model_for(Task("embed"))
    distinct = text.dictionary_encode()
    counts = model.count_tokens(distinct.dictionary.to_pylist())
    return scatter(distinct, pa.array(counts, pa.int64()))
