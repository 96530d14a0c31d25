"""`__ai_score`: the probability of yes."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Call, scatter
from sqlllm.errors import CallError
from sqlllm.function import function
from sqlllm.task import YES_NO
from sqlllm.udfs.classify import null_mask, probabilities


@function(returns="DOUBLE")
def score(call: Call, text: pa.Array) -> pa.Array:
    """P(yes) for each text."""
    return p_yes(call, text)


def p_yes(call: Call, text: pa.Array) -> pa.Array:
    """P(yes) of the call's question, DOUBLE."""
    question = call.text("question")
    if not question.strip():
        msg = f"the question is {'empty' if call.options.get('question') is not None else 'NULL'}"
        raise CallError(msg, hint="write what must hold, such as 'the customer asks for a refund'")
    answers = call.run(call.task(kind="choose", labels=YES_NO, instruction=question), text)
    yes = probabilities(answers.dictionary, 2)[:, 0].astype("f8")
    return scatter(answers, pa.array(yes, pa.float64(), mask=null_mask(answers.dictionary)))


def holds(call: Call, text: pa.Array) -> pa.Array:
    """Whether yes is more probable than no, BOOLEAN."""
    return pc.greater(p_yes(call, text), 0.5)
