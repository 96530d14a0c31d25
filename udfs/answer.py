"""`__ai_answer`: what was collected is asked, as one batch per call."""

from __future__ import annotations

from sqlllm.call import Origin
from sqlllm.function import set_function
from sqlllm.together import together


@set_function("BIGINT", "BIGINT", returns="BOOLEAN")
def answer(origin: Origin, number: int, inputs: int) -> bool:
    """True, once the inputs collected under `number` are answered.

    Under a negative number they are answered as their rows come, in growing batches: for a result
    that may be fetched in part only.
    """
    statement = origin.statement
    collected, text_first = statement.take(abs(number)), origin.runtime.settings.text_first
    if number < 0:
        statement.look_ahead(collected, together=text_first)
        return True
    if text_first:
        together(origin, {call: each.distinct() for call, each in collected.items()})
    for (function, options), each in collected.items():
        function.answer(origin, options, each.distinct(), rows=each.rows)
    return True
