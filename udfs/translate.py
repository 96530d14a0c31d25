"""`__ai_translate`: a text in another language."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.errors import CallError
from sqlllm.function import function


@function(returns="VARCHAR")
def translate(call: Call, text: pa.Array) -> pa.Array:
    """Each text in the language named; one that is cut off is an error."""
    into, source = call.text("language").strip(), call.text("source").strip()
    if not into:
        msg = "the language to translate into is missing"
        raise CallError(msg, hint="write ai.translate(text, 'French')")
    given = f" from {source}" if source else ""
    system = f"Translate the text{given} into {into}. Reply with the translation alone."
    return call.run(call.task(kind="complete", system=system, whole=True), text).dictionary_decode()
