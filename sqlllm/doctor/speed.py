"""Whether it works, and how fast: a query, a matrix product, and the built-in models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

from sqlllm.doctor.finding import Finding, failed
from sqlllm.models.base import Model
from sqlllm.settings import Settings
from sqlllm.task import Task

TEXTS = (
    "The lamp flickers at night and the app shows no error.",
    "I was charged twice for the same order, please refund one payment.",
    "My parcel has been on its way for eight days, where is it?",
    "How do I change the e-mail address of my account?",
)
ROWS = 64

TASKS = {
    "minilm": Task("embed", truncate=True),
    "smollm2": Task("choose", labels=("billing", "bug", "delivery", "account")),
}


def query() -> Finding:
    """Whether the functions can be installed in DuckDB and called."""
    import duckdb

    from sqlllm.installation import install_on

    try:
        with duckdb.connect() as con:
            install_on(con, Settings(cache="off", record=False))
            rows = con.execute("SELECT ai.prompt('{0}', 'x')").fetchall()
            ((count,),) = con.execute("SELECT count(*) FROM ai.functions").fetchall()
    except Exception as error:  # whatever is wrong with these versions together
        return failed("versions", "query", error, fix="pip install --force-reinstall sqlllm")
    if rows != [("x",)]:
        text = f"ai.prompt('{{0}}', 'x') gave {rows!r}, not 'x'"
        return Finding("versions", "query", "problem", text)
    return Finding("versions", "query", "ok", f"{count} functions and views answer in DuckDB")


def speed(at_hand: set[str]) -> Iterator[Finding]:
    """The best matrix product, and rows a second of the built-in models that are here."""
    from sqlllm.bench.machine import peak_flops
    from sqlllm.engine.device import device, precision
    from sqlllm.engine.worker import on_model_thread

    place = device()
    dtype = precision(place)
    flops = on_model_thread(partial(peak_flops, place, dtype, rounds=2))
    yield Finding(
        "speed", "matrix product", "ok", f"{flops / 1e9:,.0f} GFLOP/s in {dtype} on {place}",
        values={"flops": flops, "dtype": dtype, "device": place},
    )  # fmt: skip
    for name in TASKS:
        if name in at_hand:
            yield _rows(name)


def _ask(model: Model, task: Task, texts: list[str]) -> int:
    """Tokens that were read for the answers; past the cache, budgets and records."""
    batches = list(model.answer(task, texts))
    for batch in batches:
        if batch.errors:
            raise next(iter(batch.errors.values()))
    return sum(batch.prompt_tokens for batch in batches)


def _rows(name: str) -> Finding:
    """Rows a second of one model, once it is loaded."""
    from sqlllm.models.registry import Registry

    task = TASKS[name]
    what = "embed" if task.kind == "embed" else "classify"
    texts = [f"{i}: {TEXTS[i % len(TEXTS)]}" for i in range(ROWS)]
    try:
        started = time.perf_counter()
        model = Registry({}).get(name)
        _ask(model, task, texts[:4])
        loaded = time.perf_counter() - started
        started = time.perf_counter()
        tokens = _ask(model, task, texts)
        seconds = time.perf_counter() - started
    except Exception as error:
        return failed("speed", f"{what} by {name}", error)
    return Finding(
        "speed", f"{what} by {name}", "ok",
        f"{ROWS / seconds:,.0f} rows/s of {tokens / ROWS:.0f} tokens; loaded in {loaded:.1f} s",
        values={"rows_per_second": ROWS / seconds, "tokens": tokens, "load_seconds": loaded},
    )  # fmt: skip
