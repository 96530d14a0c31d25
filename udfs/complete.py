"""`__ai_complete`: free text."""

from __future__ import annotations

import pyarrow as pa

from sqlllm.function import Call, function, scatter


@function(returns="VARCHAR")
def complete(call: Call, text: pa.Array) -> pa.Array:
    """Text that answers each prompt."""
    task = call.task(
        kind="complete",
        system=call.text("system"),
        stop=call.texts("stop"),
        pattern=call.text("pattern"),
        whole=bool(call.options.get("whole")),
    )
    answers = call.run(task, text)
    return scatter(answers, answers.dictionary)
