"""The settings of one installation: sqlllm.toml < environment < `connect(...)`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlllm.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from sqlllm.models.base import Model


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What holds for every query of an installation, unless the call says otherwise.

    Attributes:
        model: Default for complete, classify, filter and extract; None: `minilm` classifies where
            there is no instruction, and `smollm2` does the rest.
        embed_model: Default for embed and similarity.
        models: Name -> model, or its URI such as `hf:<folder>`.
        on_error: `fail` stops the query at the first row without an answer, `null` makes it NULL
            and records it in `ai.errors`.
        progress: Show a progress bar; None: only where standard error is a terminal. Without a
            bar, the logger `sqlllm.progress` gets a line every few seconds.
        cache_bytes: Size of the process's in-memory cache of answers; 0 turns it off.
    """

    model: str | None = None
    embed_model: str = "minilm"
    models: Mapping[str, Model | str] = field(default_factory=dict)
    on_error: Literal["fail", "null"] = "fail"
    progress: bool | None = None
    cache_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        """Refuse values that can't work."""
        check_on_error(self.on_error)
        if self.cache_bytes < 0:
            msg = f"cache_bytes must be 0 or more, not {self.cache_bytes!r}"
            raise ConfigError(msg)

    @classmethod
    def load(cls, **given: Any) -> Settings:
        """Settings from the file, the environment and `given`, the later the stronger.

        The file is `$SQLLLM_CONFIG`, or the nearest `sqlllm.toml` at or above the working folder.
        The environment has `SQLLLM_MODEL`, `SQLLLM_EMBED_MODEL` and `SQLLLM_ON_ERROR`. A value of
        None in `given` counts as not given.
        """
        settings = cls()
        path = config_file()
        if path is not None:
            settings = settings.merged(_read(path), source=str(path))
        names = {"model", "embed_model", "on_error"}
        env = {n: v for n in names if (v := os.environ.get(f"SQLLLM_{n.upper()}"))}
        settings = settings.merged(env, source="the environment")
        given = {name: value for name, value in given.items() if value is not None}
        return settings.merged(given, source="connect()")

    def merged(self, values: Mapping[str, Any], *, source: str) -> Settings:
        """A copy with `values` on top; models are added to those already there."""
        known = {item.name for item in fields(self)}
        for name in values:
            if name not in known:
                msg = f"unknown setting {name!r} in {source}"
                raise ConfigError(msg, hint=did_you_mean(name, known))
        values = dict(values)
        values["models"] = {**self.models, **values.get("models", {})}
        return replace(self, **values)


def check_on_error(value: object) -> None:
    """Refuse anything but the two policies."""
    if value not in ("fail", "null"):
        msg = f"on_error must be 'fail' or 'null', not {value!r}"
        raise ConfigError(msg)


def home() -> Path:
    """The folder for models: `$SQLLLM_HOME`, or this system's cache folder for sqlllm."""
    import platformdirs

    override = os.environ.get("SQLLLM_HOME")
    return Path(override) if override else Path(platformdirs.user_cache_dir("sqlllm"))


def config_file() -> Path | None:
    """The settings file that holds here, or None."""
    named = os.environ.get("SQLLLM_CONFIG")
    if named:
        if not Path(named).is_file():
            msg = f"SQLLLM_CONFIG names {named!r}, which is not a file"
            raise ConfigError(msg)
        return Path(named)
    here = Path.cwd()
    return next(
        (path for d in (here, *here.parents) if (path := d / "sqlllm.toml").is_file()), None
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ConfigError(msg) from error
    models = {}
    for name, entry in values.get("models", {}).items():
        if not isinstance(entry, Mapping) or set(entry) != {"uri"}:
            msg = f"{path}: [models.{name}] needs exactly one entry, `uri`"
            raise ConfigError(msg, hint='write uri = "hf:<folder>"')
        models[name] = entry["uri"]
    return {**values, "models": models} if models else values
