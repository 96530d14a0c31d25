"""The vectorised Arrow UDFs, one per file: Arrow columns in, a column out."""

from __future__ import annotations

from sqlllm.function import Function, SetFunction
from sqlllm.udfs.answer import answer
from sqlllm.udfs.candidates import candidates
from sqlllm.udfs.classify import classify
from sqlllm.udfs.classify_scores import classify_scores
from sqlllm.udfs.complete import complete
from sqlllm.udfs.count_tokens import count_tokens
from sqlllm.udfs.embed import embed
from sqlllm.udfs.estimate import estimate
from sqlllm.udfs.extract import extract
from sqlllm.udfs.filter import filter
from sqlllm.udfs.first import first
from sqlllm.udfs.score import score
from sqlllm.udfs.split_text import split_text

FUNCTIONS: tuple[Function | SetFunction, ...] = (
    complete,
    extract,
    classify,
    classify_scores,
    filter,
    score,
    embed,
    count_tokens,
    split_text,
    first,
    answer,
    estimate,
    candidates,
)
"""Every UDF; the macros in sql/ give them public names. The last four are the rewriter's."""
