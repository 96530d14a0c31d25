"""`__ai_complete`: free text."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.function import Call, function, scatter


@function(returns="VARCHAR")
def complete(call: Call, text: pa.Array) -> pa.Array:
    """Text that answers each prompt."""
    stop = call.options.get("stop") or ()
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    answers = call.run(call.task(kind="complete", system=call.text("system"), stop=stop), text)
    return scatter(answers, answers.dictionary)
