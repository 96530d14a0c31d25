"""`sqlllm.toml`: where it is, and what it says."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlllm.errors import ConfigError, did_you_mean

PATHS = ("cache_file", "state_file", "audit_log")
"""Settings that are paths; those of a file are relative to it."""


def config_file() -> Path | None:
    """The settings file that holds here, or None."""
    named = os.environ.get("SQLLLM_CONFIG")
    if named:
        if not Path(named).is_file():
            msg = f"SQLLLM_CONFIG names {named!r}, which is not a file"
            raise ConfigError(msg)
        return Path(named)
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed under the process
        return None
    places = (folder / "sqlllm.toml" for folder in (here, *here.parents))
    found = next((path for path in places if os.path.isfile(path)), None)  # noqa: PTH113
    if found is not None and _is_strangers(found):
        msg = f"{found} is another user's, in a folder where everybody may write"
        raise ConfigError(msg, hint=f"if you trust it, set SQLLLM_CONFIG={found}")
    return found


def _is_strangers(path: Path) -> bool:
    """Whether a user but this one and root has put it where anybody can, such as /tmp: it says
    which models answer, and where answers and texts go."""
    if not hasattr(os, "getuid"):
        return False
    everybody = path.parent.stat().st_mode & stat.S_IWOTH
    return bool(everybody) and path.stat().st_uid not in (0, os.getuid())


def read(path: Path) -> dict[str, Any]:
    """The settings of a file; its paths are relative to it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # as Windows' editors write
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
        raise ConfigError(msg, hint="make it readable, or name another by SQLLLM_CONFIG") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ConfigError(msg) from error
    for name in PATHS:
        if isinstance(given := values.get(name), str) and given:
            values[name] = str(path.absolute().parent / Path(given).expanduser())
    return from_tables(values, str(path))


def from_tables(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings as a file has them: a model is a URI, or a table of its `uri`, prices and caps."""
    values = dict(values)
    models = values.pop("models", {})
    if not isinstance(models, Mapping):
        msg = f"models in {where} must be a table of names and models, not {models!r}"
        raise ConfigError(msg)
    made: dict[str, dict[str, Any]] = {"models": {}, "prices": {}, "caps": {}}
    for name, given in models.items():
        entry = {"uri": given} if isinstance(given, str) else given
        for part, found in _model_entry(f"{where}: [models.{name}]", entry).items():
            made[part][name] = found
    for part, found in made.items():
        own = values.get(part, {})  # what is no table is refused with the other settings
        values[part] = {**found, **own} if isinstance(own, Mapping) else own
    return values


ENTRIES = {
    "price_input": ("prices", "input"),
    "price_output": ("prices", "output"),
    "max_calls": ("caps", "max_calls"),
    "max_tokens": ("caps", "max_tokens"),
}
"""Of `[models.name]`, beside `uri`: the setting, and its name there."""


def _model_entry(where: str, entry: Any) -> dict[str, Any]:
    """What a `[models.name]` says: setting -> its value for that model."""
    if not isinstance(entry, Mapping) or not entry:
        msg = f"{where} has no entry `uri`"
        raise ConfigError(msg, hint='write uri = "hf:<folder>"')
    made: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "uri":
            made["models"] = value
        elif key in ENTRIES:
            part, name = ENTRIES[key]
            made.setdefault(part, {})[name] = value
        else:
            msg = f"{where} has an unknown entry `{key}`"
            raise ConfigError(msg, hint=did_you_mean(key, ["uri", *ENTRIES]))
    return made
