"""Names to models: SQL names a model, the registry finds it and loads it once."""

from __future__ import annotations

import copy
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlllm.engine.worker import on_model_thread
from sqlllm.errors import ModelError, SqlllmError, UnknownModel, did_you_mean, first_line
from sqlllm.locks import own_lock
from sqlllm.models.base import Model
from sqlllm.models.known import Facts, Memo, Unloaded, signature
from sqlllm.models.uri import Uri
from sqlllm.models.width import width_of
from sqlllm.settings import is_uri

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

    Raises:
        ConfigError: There can be no model of such a URI. Whether it is there, is seen at its use.
    """

    def __init__(self, models: Mapping[str, Model | str], memo: Memo | None = None) -> None:
        for entry in models.values():
            if isinstance(entry, str):
                Uri.parse(entry)
        self._models: dict[str, Model | str] = {**BUILTIN, **models}
        self._memo = memo
        self._known: dict[str, Model] = {}

    def get(self, name: str) -> Model:
        """The model of that name: loaded, or known from an earlier process."""
        entry = self._entry(name)
        if isinstance(entry, Model):
            if not entry.fingerprint:
                entry.fingerprint, entry.durable = f"python:{uuid.uuid4().hex}", False
            if vars(entry).get("name", "") not in ("", name):  # it has another elsewhere
                return self._known.setdefault(name, _named(copy.copy(entry), name))
            return _named(entry, name)
        if name not in self._known:
            self._known[name] = _named(self._remembered(entry), name)
        return self._known[name]

    def _remembered(self, uri: str) -> Model:
        """A copy: the weights are shared, the name is this installation's."""
        found = Uri.parse(uri)
        folder = found.there()
        if self._memo is None or not (folder / "config.json").is_file():
            return copy.copy(load(uri))
        memo, mark = self._memo, signature(folder, found.dtype)
        facts = memo.get(mark)
        if facts is not None:
            return Unloaded(facts, lambda: copy.copy(load(uri)), partial(memo.put, mark))
        model = load(uri)
        memo.put(mark, Facts.of(model))
        return copy.copy(model)

    def width(self, name: str) -> int | None:
        """Numbers in a vector of that model, if that is known without loading it."""
        entry = self._entry(name)
        if isinstance(entry, Model):
            return entry.width
        uri = Uri.parse(entry)
        return width_of(uri.folder()) if uri.scheme in ("minilm", "hf") else None

    def _entry(self, name: str) -> Model | str:
        entry = self._models.get(name)
        if entry is None:
            msg = f"unknown model {name!r}"
            hint = did_you_mean(name, self._models)
            if is_uri(name):
                hint = f"a query names models that settings have: models = {{'mine': {name!r}}}"
            raise UnknownModel(msg, hint=hint)
        return entry

    def __iter__(self) -> Iterator[tuple[str, type[Model], str]]:
        """Name, class and URI of every model, without loading one."""
        for name, entry in sorted(self._models.items()):
            if isinstance(entry, Model):
                yield name, type(entry), "python"
            else:
                yield name, _model_class(Uri.parse(entry))[0], entry


def _named(model: Model, name: str) -> Model:
    model.name = name
    return model


_LOADING = own_lock()  # two first calls at once load a model once


_LOADED: dict[tuple[Uri, Path], tuple[str, Model]] = {}


def load(uri: str) -> Model:
    """The model that a URI names; the same object for the whole process, while its files last."""
    with _LOADING, _quiet():
        return on_model_thread(_load, Uri.parse(uri))


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


def _load(uri: Uri) -> Model:
    place, mark = (uri, uri.folder().resolve()), signature(uri.folder(), uri.dtype)
    before = _LOADED.get(place)
    if before is not None and before[0] == mark:
        return before[1]
    _, make = _model_class(uri)
    try:
        model = make()
    except (SqlllmError, MemoryError):
        raise
    except Exception as error:  # whatever the libraries make of a damaged file
        msg = f"model {str(uri)!r} can't be loaded: {first_line(error)}"
        hint = f"a file in {uri.folder()} may be cut off or damaged: fetch the model again"
        hint += "; or it is of a kind that can't run here"
        raise ModelError(msg, hint=hint) from error
    _LOADED[place] = mark, model
    return model


def _model_class(found: Uri) -> tuple[type[Model], Callable[[], Model]]:
    from sqlllm.models.causal import CausalModel
    from sqlllm.models.sentence import SentenceModel

    by_sentences = found.scheme == "hf" and (found.folder() / "modules.json").is_file()
    if found.scheme == "minilm" or by_sentences:
        return SentenceModel, lambda: SentenceModel(found.there(), dtype=found.dtype)
    place = found.place or None
    return CausalModel, lambda: CausalModel(found.there(), dtype=found.dtype, place=place)


def default_model(task: Task) -> str:
    """The built-in model for a task where nothing is configured."""
    by_similarity = task.kind == "choose" and not task.yes_no and not task.instruction
    return BUILTIN_EMBEDDING if task.kind == "embed" or by_similarity else "smollm2"
