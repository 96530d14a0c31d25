"""`__ai_filter`: yes or no."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.function import function
from sqlllm.udfs.score import holds


@function(returns="BOOLEAN")
def filter(call: Call, text: pa.Array) -> pa.Array:
    """Whether yes is more probable than no."""
    return holds(call, text)
