"""The settings of one installation: sqlllm.toml < environment < `connect(...)`."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.places import (
    CACHE_FILE,
    STATE_FILE,
    files_of_relative_home,
    home,
    place,
    state_home,
)
from sqlllm.settings_file import PATHS, config_file, read

if TYPE_CHECKING:
    from sqlllm.models.base import Model


CACHE_MODES = ("on", "memory", "off", "read", "only")

FROM_ENVIRONMENT = (
    "model", "embed_model", "on_error", "cache", "cache_file", "state_file", "text_first",
)  # fmt: skip
"""Settings that the environment may have, as `SQLLLM_MODEL` and so on."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for every query of an installation, unless the call says otherwise.

    Attributes:
        model: Default for complete, classify, filter and extract, a name or a URI; None: `minilm`
            classifies where there is no instruction, and `smollm2` does the rest.
        embed_model: Default for embed and similarity, likewise.
        models: Name -> model, or its URI such as `hf:<folder>`.
        on_error: `fail` stops the query at the first row without an answer, `null` makes it NULL
            and records it in `ai.errors`.
        text_first: Whether language models read the row's text before the question, so that several
            questions about a text read it once (`SELECT ai.filter(x, ...), ai.score(x, ...)`).
            The answers differ from those to a question before the text.
        progress: Show a progress bar; None: only where standard error is a terminal. Without a
            bar, the logger `sqlllm.progress` gets a line every few seconds. A function is called
            with a `sqlllm.runtime.progress.Work` after each batch.
        cache: What becomes of answers. `on`: kept in the cache file, for all processes; `memory`:
            in this process; `off`: nowhere; `read`: the file is read, not written; `only`:
            likewise, and what is not in it is an error, so that no model is asked.
        cache_file: The cache file; None: `answers-1.sqlite` in `home()`.
        cache_bytes: Size of the cache; what was used longest ago is dropped first.
        vectors: How vectors are kept, and so returned: `float16` takes half the room, for a cosine
            of 0.9999999 to `float32`.
        record: Whether usage, errors and runs are kept in the state file, for all processes to see.
        state_file: The state file; None: `state-1.sqlite` in this system's folder for state.
        budgets: What may be asked of models per `query`, `job` (a run of `sqlllm run`) and `day`
            (local time, all processes): `max_calls` (inputs sent), `max_tokens` (read and
            written), `max_seconds` (that models take) and `max_cost`, such as
            `{"day": {"max_calls": 1000}}`. `connect(max_calls=...)` and the others alone are the
            query's. What is cached is free.
        prices: Model -> `{"input": ..., "output": ...}`: what a million tokens cost, in any
            currency; `price_input` and `price_output` in `[models.name]`.
        caps: Model -> its `max_calls` and `max_tokens` per query; in `[models.name]`, too.
        allow_models: The only models that may be used, by name; None: all that are configured.
        allow_remote: Whether models may be used that send texts to another machine.
        audit_log: A file that gets one line of JSON per input that was sent; None: none. One
            that is there and no audit log is refused.
        audit_texts: Whether those lines have the texts, not only their hashes.
    """

    model: str | None = None
    embed_model: str = "minilm"
    models: Mapping[str, Model | str] = field(default_factory=dict)
    on_error: Literal["fail", "null"] = "fail"
    text_first: bool = False
    progress: bool | Callable[[Any], None] | None = None
    cache: Literal["on", "memory", "off", "read", "only"] = "on"
    cache_file: str | None = None
    cache_bytes: int = 8 << 30
    vectors: Literal["float32", "float16"] = "float32"
    record: bool = True
    state_file: str | None = None
    budgets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    caps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    allow_models: Collection[str] | None = None
    allow_remote: bool = False
    audit_log: str | None = None
    audit_texts: bool = False

    def __post_init__(self) -> None:
        """Refuse values that can't work; a path is the same wherever the process goes from here."""
        check_types(self)
        for name in PATHS:
            if given := getattr(self, name):
                object.__setattr__(self, name, str(place(given)))
        check_on_error(self.on_error)
        if self.cache not in CACHE_MODES:
            msg = f"cache must be one of {', '.join(map(repr, CACHE_MODES))}, not {self.cache!r}"
            raise ConfigError(msg)
        if self.vectors not in ("float32", "float16"):
            msg = f"vectors must be 'float32' or 'float16', not {self.vectors!r}"
            raise ConfigError(msg)
        if self.cache_bytes < 1:
            msg = f"cache_bytes must be 1 or more, not {self.cache_bytes!r}"
            raise ConfigError(msg, hint="cache = 'off' keeps nothing")
        check_limits(self)

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Settings from the file, the environment and `given`, the later the stronger.

        The file is `$SQLLLM_CONFIG`, or the nearest `sqlllm.toml` at or above the working folder.
        The environment has `SQLLLM_MODEL`, `SQLLLM_EMBED_MODEL`, `SQLLLM_ON_ERROR`, `SQLLLM_CACHE`,
        `SQLLLM_CACHE_FILE`, `SQLLLM_STATE_FILE` and `SQLLLM_TEXT_FIRST` (true or false). A value of
        None in `given` counts as not given.
        """
        settings = cls().merged(files_of_relative_home(), source="SQLLLM_HOME")
        path = config_file()
        if path is not None:
            settings = settings.merged(read(path), source=str(path))
        said = {name: os.environ.get(f"SQLLLM_{name.upper()}") for name in FROM_ENVIRONMENT}
        env: dict[str, Any] = {name: value for name, value in said.items() if value}
        if switch := env.get("text_first"):
            env["text_first"] = {"true": True, "false": False}.get(switch.lower(), switch)
        settings = settings.merged(env, source="the environment")
        given = {name: value for name, value in given.items() if value is not None}
        return settings.merged(given, source="connect()")

    def merged(self, values: Mapping[str, Any], *, source: str) -> Settings:
        """A copy with `values` on top; models, budgets, prices and caps are added to what is
        there already."""
        known = {item.name for item in fields(self)} | set(LIMITS)
        for name in values:
            if name not in known:
                msg = f"unknown setting {name!r} in {source}"
                raise ConfigError(msg, hint=did_you_mean(name, known))
        query = {name: values[name] for name in LIMITS if name in values}
        values = {name: value for name, value in values.items() if name not in LIMITS}
        models = values.get("models", {})
        if not isinstance(models, Mapping):
            msg = f"models must be a table of names and models, not {models!r}"
            raise ConfigError(msg, hint="such as models={'mine': 'hf:models/my-model'}")
        said = [v for n in ("model", "embed_model") if isinstance(v := values.get(n), str)]
        uris = {name: name for name in said if is_uri(name) and name not in self.models}
        values["models"] = {**self.models, **uris, **models}
        for name in ("budgets", "prices", "caps"):
            values[name] = _nested(getattr(self, name), values.get(name, {}), name)
        if query:
            values["budgets"] = _nested(values["budgets"], {"query": query}, "budgets")
        return replace(self, **values)


def is_uri(name: str) -> bool:
    """Whether what names a model says itself where it is.

    Example:
        >>> is_uri("hf:models/mine"), is_uri("smollm2?dtype=int8"), is_uri("smollm2")
        (True, True, False)
    """
    return ":" in name or "?" in name


KINDS: Mapping[str, tuple[Any, str]] = {
    **dict.fromkeys(("model", "embed_model"), (str, "a name or a URI")),
    **dict.fromkeys(PATHS, ((str, os.PathLike), "a path")),
    **dict.fromkeys(
        ("text_first", "record", "allow_remote", "audit_texts"), (bool, "true or false")
    ),
    "progress": ((bool, Callable), "true, false or a function"),
    "cache_bytes": (int, "a whole number"),
}
"""Setting -> its type, and what that is called. The others are checked where they are listed."""


def check_types(settings: Settings) -> None:
    """Refuse values of a wrong type, such as a file of settings may have."""
    for name, (kind, called) in KINDS.items():
        value = getattr(settings, name)
        silent = name == "audit_log" and value == ""  # as of a variable that is not set
        counts = kind is int and isinstance(value, bool)  # to Python it is a number
        if value is not None and (silent or counts or not isinstance(value, kind)):
            msg = f"{name} must be {called}, not {value!r}"
            own = f"a model of your own needs a name: models={{'mine': model}}, {name}='mine'"
            raise ConfigError(msg, hint=own if hasattr(value, "fingerprint") else None)
    for name, model in settings.models.items():
        if not isinstance(model, str) and (isinstance(model, type) or not hasattr(model, "answer")):
            msg = f"the model {name!r} must be a URI or a Model, not {model!r}"
            raise ConfigError(msg, hint="such as 'hf:models/my-model'")
        if not isinstance(name, str) or not name.strip():
            msg = f"a model's name must be text, not {name!r}"
            raise ConfigError(msg)


SCOPES = ("query", "job", "day")

LIMITS = ("max_calls", "max_tokens", "max_seconds", "max_cost")


def check_limits(settings: Settings) -> None:
    """Refuse budgets, prices, caps and lists of models that mean nothing."""
    for scope in settings.budgets:
        if scope not in SCOPES:
            msg = f"budgets are per {', '.join(SCOPES)}, not per {scope!r}"
            raise ConfigError(msg, hint=did_you_mean(scope, SCOPES))
    _check_numbers("budgets", settings.budgets, LIMITS)
    _check_numbers("prices", settings.prices, PRICES)
    _check_numbers("caps", settings.caps, CAPS)
    for name, price in settings.prices.items():
        if missing := set(PRICES) - set(price):
            msg = f"the price of model {name!r} has no {missing.pop()!r}"
            raise ConfigError(msg, hint="give both, per million tokens; what is free costs 0")
    if "day" in settings.budgets and not settings.record:
        msg = "a budget per day needs a record of what was asked, and record is false"
        raise ConfigError(msg, hint="remove record = false, or set the budget per query or job")
    listed = settings.allow_models
    several = isinstance(listed, Collection) and not isinstance(listed, str)
    if listed is not None and not (several and all(isinstance(name, str) for name in listed)):
        msg = f"allow_models must be a list of names, not {listed!r}"
        raise ConfigError(msg, hint=f"write [{listed!r}]" if isinstance(listed, str) else None)


PRICES = ("input", "output")

CAPS = ("max_calls", "max_tokens")


def _check_numbers(
    setting: str, given: Mapping[str, Mapping[str, float]], known: Collection[str]
) -> None:
    for name, values in given.items():
        for key, value in values.items():
            if key not in known:
                msg = f"unknown entry {key!r} in {setting} of {name!r}"
                raise ConfigError(msg, hint=did_you_mean(key, known))
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                msg = f"{key} in {setting} of {name!r} must be a number, 0 or more, not {value!r}"
                raise ConfigError(msg)


def _nested(
    old: Mapping[str, Mapping[str, float]], new: Any, setting: str
) -> dict[str, Mapping[str, float]]:
    """Both, the new entries above the old ones."""
    if not isinstance(new, Mapping) or not all(isinstance(v, Mapping) for v in new.values()):
        msg = f"{setting} must be a table of tables, not {new!r}"
        shown = {
            "budgets": "{'day': {'max_calls': 1000}}",
            "prices": "{'mine': {'input': 0.5, 'output': 1.5}}",
            "caps": "{'mine': {'max_calls': 1000}}",
        }
        raise ConfigError(msg, hint=f"such as {setting}={shown[setting]}")
    return {**old, **{name: {**old.get(name, {}), **values} for name, values in new.items()}}


def check_on_error(value: object) -> None:
    """Refuse anything but the two policies."""
    if value not in ("fail", "null"):
        msg = f"on_error must be 'fail' or 'null', not {value!r}"
        raise ConfigError(msg)


def cache_path(settings: Settings) -> Path:
    """The cache file."""
    return Path(settings.cache_file) if settings.cache_file else home() / CACHE_FILE


def state_path(settings: Settings) -> Path:
    """The state file: what no command can make again."""
    return Path(settings.state_file) if settings.state_file else state_home() / STATE_FILE
