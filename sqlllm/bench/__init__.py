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
    _check(options)
    dtype = options.dtype or _asked_for(options) or precision(place)
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


def _check(options: Options) -> None:
    """Refuse names that can't be loaded before minutes are spent."""
    from sqlllm.bench import configs, models

    if {"classify", "filter", "complete", "extract"} & set(options.workloads):
        if options.config:
            configs.config_values(options.config)
        else:
            models.language_folder(options.model)
    if {"embed", "memory"} & set(options.workloads):
        models.folder_of(options.embed_model)
    if "memory" in options.workloads and options.memory_model not in configs.CONFIGS:
        models.language_folder(options.memory_model)


def _asked_for(options: Options) -> str | None:
    """The precision in the URIs of the models that are measured.

    Raises:
        ConfigError: There are two: a run has one peak.
    """
    from sqlllm.bench import configs, models

    used = set(options.workloads)
    names = [] if options.config or not used - {"embed", "memory"} else [options.model]
    names += [options.embed_model] if used & {"embed", "memory"} else []
    if "memory" in used and options.memory_model not in configs.CONFIGS:
        names.append(options.memory_model)
    asked = sorted({uri.dtype for uri in map(models.uri_of, names) if uri.dtype})
    if len(asked) > 1:
        msg = f"the models' URIs ask for {' and '.join(asked)}"
        raise ConfigError(msg, hint="give one --dtype for all, or measure them apart by --only")
    return asked[0] if asked else None


def _builders(
    options: Options, place: str, dtype: str, say: Say
) -> Iterator[tuple[str, Callable[[], Workload]]]:
    """How to make each workload; models are loaded when the first needs them."""
    from sqlllm.bench import models
    from sqlllm.bench.choosing import choosing
    from sqlllm.bench.embedding import embedding
    from sqlllm.bench.prompts import Writers
    from sqlllm.bench.sql import Sql
    from sqlllm.bench.writing import completing, extracting

    language = [n for n in ("classify", "filter", "complete", "extract") if n in options.workloads]
    if language:
        say(f"loading {options.config or options.model}")
        if options.config:
            model = models.random_causal(options.config, place, dtype)
        else:
            model = models.causal(options.model, place, dtype)
        if options.baselines:
            _ = model.plain  # here, not while a baseline's memory is watched
        sql, writers = Sql({"bench": model.ours}), Writers(model, options)
        makers: dict[str, Callable[..., Workload]] = {
            "classify": partial(choosing, "classify"),
            "filter": partial(choosing, "filter"),
            "complete": completing,
            "extract": extracting,
        }
        for name in language:
            yield name, partial(makers[name], model, sql, options, writers)
        sql.db.close()
        del model, sql, writers
    if "embed" in options.workloads:
        say(f"loading {options.embed_model}")
        embedder = models.sentence(options.embed_model, place, dtype)
        sql = Sql({"embedder": embedder.ours})
        yield "embed", partial(embedding, embedder, sql, options)
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
