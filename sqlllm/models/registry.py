"""Names to models: SQL names a model, the registry finds it and loads it once."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlllm.engine.worker import on_model_thread
from sqlllm.errors import ConfigError, UnknownModel, did_you_mean
from sqlllm.models.base import Model

if TYPE_CHECKING:
    from sqlllm.task import Task

BUILTIN: Mapping[str, str] = {"minilm": "minilm:", "smollm2": "smollm2:"}
"""Models that are there without configuration: name -> URI."""


class Registry:
    """The models of one installation.

    Args:
        models: Name -> model or URI, on top of the built-in ones.
    """

    def __init__(self, models: Mapping[str, Model | str]) -> None:
        self._models: dict[str, Model | str] = {**BUILTIN, **models}

    def get(self, name: str) -> Model:
        """The model of that name, loaded."""
        entry = self._models.get(name)
        if entry is None:
            msg = f"unknown model {name!r}"
            raise UnknownModel(msg, hint=did_you_mean(name, self._models))
        if isinstance(entry, Model):
            entry.name = entry.name or name
            return entry
        model = copy.copy(load(entry))  # the weights are shared, the name is this installation's
        model.name = name
        return model

    def __iter__(self) -> Iterator[tuple[str, type[Model], str]]:
        """Name, class and URI of every model, without loading one."""
        for name, entry in sorted(self._models.items()):
            if isinstance(entry, Model):
                yield name, type(entry), "python"
            else:
                yield name, _model_class(entry)[0], entry


_LOADING = threading.Lock()  # two first calls at once load a model once


def load(uri: str) -> Model:
    """The model that a URI names; the same object for the whole process."""
    with _LOADING, _quiet():
        return on_model_thread(_load, uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bar for a load that takes a second."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@cache
def _load(uri: str) -> Model:
    _, make = _model_class(uri)
    return make()


def _model_class(uri: str) -> tuple[type[Model], Callable[[], Model]]:
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in SCHEMES:
        msg = f"unknown kind of model {uri!r}"
        raise ConfigError(msg, hint=did_you_mean(scheme, SCHEMES))
    return SCHEMES[scheme](rest)


def _minilm(_: str) -> tuple[type[Model], Callable[[], Model]]:
    from sqlllm.models.sentence import SentenceModel, minilm_folder

    return SentenceModel, lambda: SentenceModel(minilm_folder())


def _smollm2(_: str) -> tuple[type[Model], Callable[[], Model]]:
    from sqlllm.models.causal import CausalModel
    from sqlllm.models.pull import smollm2_folder

    return CausalModel, lambda: CausalModel(smollm2_folder())


def _hf(place: str) -> tuple[type[Model], Callable[[], Model]]:
    from sqlllm.models.causal import CausalModel
    from sqlllm.models.pull import hub_folder
    from sqlllm.models.sentence import SentenceModel

    folder = Path(place) if Path(place).is_dir() else hub_folder(place)
    if (folder / "modules.json").is_file():
        return SentenceModel, lambda: SentenceModel(folder)
    return CausalModel, lambda: CausalModel(folder, place=place)


SCHEMES: Mapping[str, Callable[[str], tuple[type[Model], Callable[[], Model]]]] = {
    "minilm": _minilm,
    "smollm2": _smollm2,
    "hf": _hf,
}


def default_model(task: Task) -> str:
    """The built-in model for a task where nothing is configured."""
    by_similarity = task.kind == "choose" and not task.yes_no and not task.instruction
    return "minilm" if task.kind == "embed" or by_similarity else "smollm2"
