"""`__ai_complete`: free text, text of a pattern, or JSON of a given form."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.function import function
from sqlllm.schema import read_form


@function(returns="VARCHAR")
def complete(call: Call, text: pa.Array) -> pa.Array:
    """Text that answers each prompt."""
    form = read_form(call.options.get("schema"), call.options.get("descriptions"))
    task = call.task(
        kind="complete",
        system=call.text("system"),
        stop=call.texts("stop"),
        pattern=call.text("pattern"),
        whole=call.flag("whole"),
        schema=form.schema,
        shown=form.shown,
    )
    return call.run(task, text).dictionary_decode()
