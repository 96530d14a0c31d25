"""`__ai_extract`: JSON of a given form."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.errors import CallError
from sqlllm.function import function
from sqlllm.schema import HINT, read_form


@function(returns="VARCHAR")
def extract(call: Call, text: pa.Array) -> pa.Array:
    """JSON that is valid against the schema, for each text."""
    if call.options.get("schema") is None:
        msg = "the schema is NULL"
        raise CallError(msg, hint=HINT)
    form = read_form(call.options["schema"], call.options.get("descriptions"))
    task = call.task(
        kind="extract",
        schema=form.schema,
        shown=form.shown,
        instruction=call.text("instruction"),
    )
    return call.run(task, text).dictionary_decode()
