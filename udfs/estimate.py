"""`__ai_estimate`: what was collected is counted, not asked."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlllm.call import Origin
from sqlllm.function import set_function
from sqlllm.runtime.estimate import DryRun


@set_function("BIGINT", "BIGINT", returns="VARCHAR")
def estimate(origin: Origin, number: int, inputs: int) -> str:
    """A JSON list with the rows and the `Cost` of each call collected under `number`."""
    statement, costs = origin.statement, []
    for (function, options), collected in statement.take(number).items():
        runtime = DryRun(origin.runtime)
        counting = Origin(runtime, origin.query_id, origin.connection_id)
        function.answer(counting, options, collected.distinct())
        costs += [{"rows": collected.rows, **asdict(cost)} for cost in runtime.costs()]
    return json.dumps(costs)
