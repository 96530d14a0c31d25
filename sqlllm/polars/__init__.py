"""The functions of the catalogue as Polars expressions, and SQL over Polars frames.

`import sqlllm.polars` adds the namespace `.ai` to expressions and frames; the plain functions take
the expression as an argument:

    import polars as pl
    from sqlllm import polars as ai

    df.with_columns(topic=pl.col("body").ai.classify(["billing", "bug"], truncate=True))
    df.with_columns(topic=ai.classify(pl.col("body"), ["billing", "bug"], truncate=True))
    df.group_by("product").agg(pl.col("body").ai.agg("What do customers complain about?"))
    df.ai.sql("SELECT * FROM self WHERE ai.filter(body, 'asks for a refund')")

An expression is the SQL call of the same name, run on a planned DuckDB connection over the column
as Arrow: names, defaults, NULLs, errors, the cache and `ai.usage` are those of SQL. Arguments are
constants, or expressions. Models and settings are those of `sqlllm.connect()`, read from
`sqlllm.toml` and the environment when a call first needs them; `using` names a connection of yours
instead:

    db = sqlllm.connect(model="qwen", cache="off")
    with ai.using(db):  # what is written here is answered by `db`, whenever it runs
        topics = lf.with_columns(topic=pl.col("body").ai.classify(["billing", "bug"]))
    ai.using(db).embed(pl.col("body"))  # the same for one expression

**When a call runs.** Where it is written, on the rows that are there, for the whole column at once:
its distinct texts are one batch, however many chunks the column has, in every engine. So Polars
moves no `filter`, `head` or join from after a call to before it: write them before the call, or the
query in SQL. For the same reason `collect(engine="streaming")` and `sink_parquet` hold the frame in
memory up to a call; write in parts what doesn't fit. In `group_by(...).agg(...)` and `.over(...)`
an aggregate is one call for all groups, but any other function is one per group: call it in
`with_columns`, before the grouping.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

import polars as pl

from sqlllm.polars.binding import connection
from sqlllm.polars.frames import EagerFrames, LazyFrames
from sqlllm.polars.functions import Expressions, Functions

if TYPE_CHECKING:
    from sqlllm.connection import Connection

__all__ = [
    "EagerFrames",
    "Expressions",
    "Functions",
    "LazyFrames",
    "agg",
    "answer",
    "classify",
    "classify_labels",
    "classify_scores",
    "complete",
    "connection",
    "count_tokens",
    "embed",
    "extract",
    "filter",
    "fix_grammar",
    "match",
    "moderate",
    "prompt",
    "redact",
    "rerank",
    "rrf",
    "score",
    "sentiment",
    "similarity",
    "split_text",
    "summarize",
    "summarize_agg",
    "translate",
    "try_agg",
    "try_answer",
    "try_classify",
    "try_classify_labels",
    "try_classify_scores",
    "try_complete",
    "try_count_tokens",
    "try_embed",
    "try_extract",
    "try_filter",
    "try_fix_grammar",
    "try_match",
    "try_moderate",
    "try_redact",
    "try_rerank",
    "try_score",
    "try_sentiment",
    "try_similarity",
    "try_split_text",
    "try_summarize",
    "try_summarize_agg",
    "try_translate",
    "using",
]


def using(db: Connection) -> Functions:
    """The functions on a connection of yours, with its models, settings, cache and `ai.usage`.

    As a context manager it decides for all that is written in the block, also by `.ai`, on this
    thread. Expressions keep the connection that they were written for: it must be open when they
    run.

    Args:
        db: From `sqlllm.connect`.

    Example:
        >>> import polars as pl, sqlllm
        >>> from sqlllm import polars as ai
        >>> fake = sqlllm.FakeModel(lambda task, text: text.upper())
        >>> db = sqlllm.connect(models={"fake": fake}, model="fake")
        >>> with ai.using(db):
        ...     loud = pl.col("x").ai.complete()
        >>> pl.DataFrame({"x": ["a", None, "a"]}).select(loud)["x"].to_list()
        ['A', None, 'A']
        >>> fake.inputs
        ['a']
        >>> db.close()
    """
    return Functions(db)


def _leave() -> None:
    """Take the namespaces out at exit.

    Polars keeps its classes alive to the end, those would keep DuckDB, and that prints a list of
    what it calls leaks.
    """
    for kind in (pl.Expr, pl.DataFrame, pl.LazyFrame):
        delattr(kind, "ai")


pl.api.register_expr_namespace("ai")(Expressions)
pl.api.register_dataframe_namespace("ai")(EagerFrames)
pl.api.register_lazyframe_namespace("ai")(LazyFrames)
atexit.register(_leave)

_plain = Functions()
prompt = _plain.prompt
complete = _plain.complete
try_complete = _plain.try_complete
extract = _plain.extract
try_extract = _plain.try_extract
classify = _plain.classify
try_classify = _plain.try_classify
classify_scores = _plain.classify_scores
try_classify_scores = _plain.try_classify_scores
classify_labels = _plain.classify_labels
try_classify_labels = _plain.try_classify_labels
filter = _plain.filter
try_filter = _plain.try_filter
match = _plain.match
try_match = _plain.try_match
score = _plain.score
try_score = _plain.try_score
embed = _plain.embed
try_embed = _plain.try_embed
similarity = _plain.similarity
try_similarity = _plain.try_similarity
sentiment = _plain.sentiment
try_sentiment = _plain.try_sentiment
moderate = _plain.moderate
try_moderate = _plain.try_moderate
translate = _plain.translate
try_translate = _plain.try_translate
fix_grammar = _plain.fix_grammar
try_fix_grammar = _plain.try_fix_grammar
answer = _plain.answer
try_answer = _plain.try_answer
rerank = _plain.rerank
try_rerank = _plain.try_rerank
redact = _plain.redact
try_redact = _plain.try_redact
summarize = _plain.summarize
try_summarize = _plain.try_summarize
agg = _plain.agg
try_agg = _plain.try_agg
summarize_agg = _plain.summarize_agg
try_summarize_agg = _plain.try_summarize_agg
count_tokens = _plain.count_tokens
try_count_tokens = _plain.try_count_tokens
split_text = _plain.split_text
try_split_text = _plain.try_split_text
rrf = _plain.rrf
