"""The vectorised Arrow UDFs, one per file: Arrow columns in, a column out."""

from __future__ import annotations

from sqlllm.function import ColumnFunction, Function, SetFunction
from sqlllm.udfs.agg import agg, summarize_agg
from sqlllm.udfs.answer import answer
from sqlllm.udfs.candidates import candidates
from sqlllm.udfs.classify import classify
from sqlllm.udfs.classify_labels import classify_labels
from sqlllm.udfs.classify_scores import classify_scores
from sqlllm.udfs.complete import complete
from sqlllm.udfs.count_tokens import count_tokens
from sqlllm.udfs.embed import embed
from sqlllm.udfs.estimate import estimate
from sqlllm.udfs.extract import extract
from sqlllm.udfs.filter import filter
from sqlllm.udfs.first import first
from sqlllm.udfs.moderate import moderate
from sqlllm.udfs.prompt import prompt
from sqlllm.udfs.redact import redact
from sqlllm.udfs.reply import reply
from sqlllm.udfs.score import score
from sqlllm.udfs.sentiment import sentiment
from sqlllm.udfs.split_text import split_text
from sqlllm.udfs.summarize import summarize
from sqlllm.udfs.translate import translate

ASKING: tuple[Function, ...] = (
    complete,
    extract,
    classify,
    classify_scores,
    classify_labels,
    filter,
    score,
    sentiment,
    moderate,
    translate,
    reply,
    embed,
    count_tokens,
    split_text,
    redact,
    summarize,
    agg,
    summarize_agg,
)
"""What the functions of sql/ call; each has a twin for `ai.try_<name>`."""

FUNCTIONS: tuple[Function | SetFunction | ColumnFunction, ...] = (
    *ASKING,
    *(function.trying for function in ASKING),
    prompt,
    first,
    answer,
    estimate,
    candidates,
)
"""Every UDF; the last four are the rewriter's."""
