"""`sqlllm bench`: this machine, and sqlllm on it against what else one would use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial

from sqlllm.bench import machine
from sqlllm.bench.method import Workload
from sqlllm.bench.options import Options
from sqlllm.bench.report import Report
from sqlllm.bench.rounds import Rounds
from sqlllm.engine.worker import on_model_thread
from sqlllm.errors import ConfigError

__all__ = ["Options", "Report", "run"]

Say = Callable[[str], None]


def run(options: Options, say: Say = lambda _: None) -> Report:
    """Measure everything that was asked for.

    Every round runs ours and each baseline one after the other, so that a ratio inside a round
    says something on a machine with busy neighbours. Ctrl-C ends it; the report holds what was
    measured until then.

    Args:
        options: What.
        say: Gets a line per step.
    """
    from sqlllm.engine import int8
    from sqlllm.engine.device import device, precision

    place = device()
    asked = _checked(options)
    dtype = options.dtype or asked or precision(place)
    if dtype == "int8":
        int8.check(place)
    options = replace(options, dtype=dtype, rounds=1 if options.quick else options.rounds)
    say("measuring the machine")
    rounds = 2 if options.quick else 5
    peaks = on_model_thread(partial(machine.measure, place, dtype, rounds=rounds))
    report = Report(
        machine=machine.describe(place, dtype),
        options={**asdict(options), "only": options.workloads, "gguf": str(options.gguf or "")},
        peaks=peaks,
        lowest_flops=peaks.flops,
        judged=(options.model, options.embed_model, options.config) == ("smollm2", "minilm", None)
        and dtype != "int8"
        and not options.quick,
    )
    measuring = Rounds(options, place, dtype, report, say)
    try:
        with _quiet():
            for name, build in _builders(options, place, dtype, say):
                measuring.workload(name, build)
            if "memory" in options.workloads:
                measuring.memory()
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def _checked(options: Options) -> str | None:
    """Refuse names that can't be loaded before minutes are spent.

    Returns:
        The precision in the URIs of the models that are measured.

    Raises:
        ConfigError: There are two, and no `dtype`: a run has one peak.
    """
    from sqlllm.bench import configs, models

    memory = "memory" in options.workloads
    names = []
    if options.language and options.config:
        configs.config_values(options.config)
    elif options.language:
        names.append(options.model)
    if memory and options.memory_model not in configs.CONFIGS:
        names.append(options.memory_model)
    for name in names:
        models.language_folder(name)
    if memory or "embed" in options.workloads:
        models.folder_of(options.embed_model)
        names.append(options.embed_model)
    asked = sorted({uri.dtype for uri in map(models.uri_of, names) if uri.dtype})
    if len(asked) > 1 and not options.dtype:
        msg = f"the models' URIs ask for {' and '.join(asked)}"
        raise ConfigError(msg, hint="give one --dtype for all, or measure them apart by --only")
    return asked[0] if asked else None


def _builders(
    options: Options, place: str, dtype: str, say: Say
) -> Iterator[tuple[str, Callable[[], Workload]]]:
    """How to make each workload; models are loaded when the first needs them."""
    from sqlllm.bench import models
    from sqlllm.bench.choosing import Choosing
    from sqlllm.bench.embedding import Embedding
    from sqlllm.bench.prompts import Language
    from sqlllm.bench.sql import Sql
    from sqlllm.bench.writing import completing, extracting

    if options.language:
        say(f"loading {options.config or options.model}")
        if options.config:
            model = models.random_causal(options.config, place, dtype)
        else:
            model = models.causal(options.model, place, dtype)
        if options.baselines:
            _ = model.plain  # here, not while a baseline's memory is watched
        language = Language(model, Sql({"bench": model.ours}), options)
        builders: dict[str, Callable[[], Workload]] = {
            "classify": lambda: Choosing("classify", language).workload(),
            "filter": lambda: Choosing("filter", language).workload(),
            "complete": lambda: completing(language),
            "extract": lambda: extracting(language),
        }
        for name in options.language:
            yield name, builders[name]
        language.sql.db.close()
        del model, language, builders
    if "embed" in options.workloads:
        say(f"loading {options.embed_model}")
        embedder = models.sentence(options.embed_model, place, dtype)
        sql = Sql({"embedder": embedder.ours})
        yield "embed", lambda: Embedding(embedder, sql, options).workload()
        sql.db.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars, and its warnings about how the baselines are called."""
    from transformers.utils import logging as theirs

    logger, bars = logging.getLogger("transformers"), theirs.is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            theirs.enable_progress_bar()
