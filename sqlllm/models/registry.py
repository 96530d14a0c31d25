"""Names to models: SQL names a model, the registry finds it and loads it once."""

from __future__ import annotations

import copy
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlllm.engine.worker import on_model_thread
from sqlllm.errors import (
    ConfigError,
    ModelError,
    SqlllmError,
    UnknownModel,
    did_you_mean,
    first_line,
)
from sqlllm.models.base import Model
from sqlllm.models.known import Facts, Memo, Unloaded, signature
from sqlllm.models.pull import hub_folder, smollm2_folder
from sqlllm.models.width import width_of

if TYPE_CHECKING:
    from sqlllm.task import Task

BUILTIN: Mapping[str, str] = {"minilm": "minilm:", "smollm2": "smollm2:"}
"""Models that are there without configuration: name -> URI."""

BUILTIN_EMBEDDING = "minilm"
"""The one that embeds where nothing is configured."""


class Registry:
    """The models of one installation.

    Args:
        models: Name -> model or URI, on top of the built-in ones.
        memo: What other processes know of models; None: each is loaded when it is named.
    """

    def __init__(self, models: Mapping[str, Model | str], memo: Memo | None = None) -> None:
        self._models: dict[str, Model | str] = {**BUILTIN, **models}
        self._memo = memo
        self._known: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """The model of that name: loaded, or known from an earlier process."""
        entry = self._entry(name)
        if isinstance(entry, Model):
            entry.name = entry.name or name
            if not entry.fingerprint:
                entry.fingerprint, entry.durable = f"python:{uuid.uuid4().hex}", False
            return entry
        if name not in self._known:
            model = self._remembered(entry)
            model.name = name
            self._known[name] = model
        return self._known[name]

    def _remembered(self, uri: str) -> Model:
        """A copy: the weights are shared, the name is this installation's."""
        folder = _folder(uri)
        if self._memo is None or not (folder / "config.json").is_file():
            return copy.copy(load(uri))
        memo, mark = self._memo, signature(folder)
        facts = memo.get(mark)
        if facts is not None:
            known = Unloaded(facts, lambda: copy.copy(load(uri)), partial(memo.put, mark))
            known.reads_prompts = _model_class(uri)[0].reads_prompts
            return known
        model = load(uri)
        memo.put(mark, Facts.of(model))
        return copy.copy(model)

    def width(self, name: str) -> int | None:
        """Numbers in a vector of that model, if that is known without loading it."""
        entry = self._entry(name)
        if isinstance(entry, Model):
            return entry.width
        return width_of(_folder(entry)) if entry.partition(":")[0] in ("minilm", "hf") else None

    def _entry(self, name: str) -> Model | str:
        entry = self._models.get(name)
        if entry is None:
            msg = f"unknown model {name!r}"
            raise UnknownModel(msg, hint=did_you_mean(name, self._models))
        return entry

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm misses ipywidgets in notebooks, and isn't shown
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
    try:
        return make()
    except (SqlllmError, MemoryError):
        raise
    except Exception as error:  # whatever the libraries make of a damaged file
        msg = f"model {uri!r} can't be loaded: {first_line(error)}"
        hint = f"a file in {_folder(uri)} may be cut off or damaged: fetch the model again"
        raise ModelError(msg, hint=hint) from error


def _model_class(uri: str) -> tuple[type[Model], Callable[[], Model]]:
    from sqlllm.models.causal import CausalModel
    from sqlllm.models.sentence import SentenceModel

    scheme, place = _parsed(uri)
    if scheme == "minilm" or (scheme == "hf" and (_folder(uri) / "modules.json").is_file()):
        return SentenceModel, lambda: SentenceModel(_folder(uri))
    return CausalModel, lambda: CausalModel(_folder(uri), place=place or None)


def _folder(uri: str) -> Path:
    """Where a model's files are, or would be.

    Raises:
        ModelMissing: A model that comes with a package, or is pulled by name, isn't there.
    """
    scheme, place = _parsed(uri)
    return SCHEMES[scheme](place)


def _parsed(uri: str) -> tuple[str, str]:
    scheme, colon, place = uri.partition(":")
    if not colon or scheme not in SCHEMES:
        msg = f"unknown kind of model {uri!r}"
        raise ConfigError(msg, hint=did_you_mean(scheme, SCHEMES))
    return scheme, place


def _minilm(_: str) -> Path:
    from sqlllm.models.sentence import minilm_folder

    return minilm_folder()


def _hf(place: str) -> Path:
    return Path(place) if Path(place).is_dir() else hub_folder(place)


SCHEMES: Mapping[str, Callable[[str], Path]] = {
    "minilm": _minilm,
    "smollm2": lambda _: smollm2_folder(),
    "hf": _hf,
}
"""What a URI begins with -> where the model's files are."""


def default_model(task: Task) -> str:
    """The built-in model for a task where nothing is configured."""
    by_similarity = task.kind == "choose" and not task.yes_no and not task.instruction
    return BUILTIN_EMBEDDING if task.kind == "embed" or by_similarity else "smollm2"
