"""`__ai_answer`: what was collected is asked, as one batch per call."""

from __future__ import annotations

from sqlllm.call import Origin
from sqlllm.function import set_function


@set_function("BIGINT", "BIGINT", returns="BOOLEAN")
def answer(origin: Origin, number: int, inputs: int) -> bool:
    """True, once the inputs collected under `number` are answered.

    Under a negative number they are answered as their rows come, in growing batches: for a result
    that may be fetched in part only.
    """
    statement = origin.statement
    for (function, options), collected in statement.take(abs(number)).items():
        if number < 0:
            statement.look_ahead((function, options), collected)
        else:
            texts = collected.distinct().slice(0, statement.limit)
            function.answer(origin, options, texts, rows=collected.rows)
    return True
