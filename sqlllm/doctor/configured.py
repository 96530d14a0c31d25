"""The settings, and the models that they name."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlllm.doctor.finding import Finding, failed
from sqlllm.engine.device import device
from sqlllm.engine.int8 import check
from sqlllm.errors import ConfigError, ModelMissing, did_you_mean
from sqlllm.models.uri import Uri
from sqlllm.places import home
from sqlllm.settings import FROM_ENVIRONMENT, Settings
from sqlllm.settings_file import config_file

READ = tuple(f"SQLLLM_{name.upper()}" for name in ("config", "home", *FROM_ENVIRONMENT))
"""Environment variables that are read."""


def settings() -> tuple[Settings, list[Finding]]:
    """The settings, or the defaults where they are wrong, and what sets them."""
    found = []
    try:
        loaded, wrong = Settings.load(), None
    except Exception as error:  # a value of a wrong type may fail anywhere
        loaded, wrong = Settings(), failed("settings", "sqlllm.toml", error)
    try:
        path = config_file()
    except ConfigError:  # the environment names none
        path = None
    if wrong is not None:
        fix = wrong.fix or (f"correct {path}" if path else "correct SQLLLM_CONFIG")
        text = f"{wrong.found}; the checks below use the defaults"
        found.append(Finding("settings", "sqlllm.toml", "problem", text, fix))
    elif path is None:
        found.append(Finding("settings", "sqlllm.toml", "ok", "none here or above: defaults"))
    else:
        text = f"{path} sets {', '.join(_set(path)) or 'nothing'}"
        found.append(Finding("settings", "sqlllm.toml", "ok", text, values={"path": str(path)}))
    given = sorted(name for name in os.environ if name.startswith("SQLLLM_"))
    unread = [name for name in given if name not in READ]
    if unread:
        fix = "; ".join(f"{name}: {_near(name)}" for name in unread)
        text = f"{', '.join(unread)}: not read by sqlllm"
        found.append(Finding("settings", "environment", "warning", text, fix))
    else:
        text = ", ".join(f"{name}={os.environ[name]}" for name in given) or "no SQLLLM_ variables"
        found.append(Finding("settings", "environment", "ok", text))
    return loaded, found


def _near(name: str) -> str:
    """What was meant by a name in capitals."""
    hint = did_you_mean(name, map(str.lower, READ)) or ""
    return re.sub("`.*?`", lambda found: found[0].upper(), hint)


def _set(path: Path) -> Iterator[str]:
    """What the file sets; of tables, the names of the entries only."""
    for name, value in tomllib.loads(path.read_text(encoding="utf-8")).items():
        yield (
            f"{name} ({', '.join(value)})" if isinstance(value, Mapping) else f"{name} = {value!r}"
        )


def models(settings: Settings) -> Iterator[Finding]:
    """Whether the files of each model are here and whole."""
    from sqlllm.models.registry import BUILTIN

    uris: dict[str, Any] = {**BUILTIN, **settings.models}
    needed = {settings.embed_model, settings.model or "minilm"}
    for name in sorted(needed - set(uris)):
        text = "a default, but there is no such model"
        yield Finding("models", name, "problem", text, did_you_mean(name, uris))
    for name, uri in sorted(uris.items()):
        yield _model(name, str(uri), settings, needed=name in needed)


def _model(name: str, uri: str, settings: Settings, *, needed: bool) -> Finding:
    allowed = settings.allow_models is None or name in settings.allow_models
    if not allowed:
        fix = f'add "{name}" to allow_models' if needed else None
        status = "problem" if needed else "ok"
        return Finding("models", name, status, "allow_models leaves it out", fix)  # type: ignore[arg-type]
    default = ", a default" if needed else ""
    try:
        given = Uri.parse(uri)
    except ConfigError as error:  # no query works with it
        return failed("models", name, error)
    try:
        folder = given.there()
        total = _bytes(folder, given)
        if given.dtype == "int8":
            check(device())
    except Exception as error:  # of safetensors and the like: what it says is what there is
        return failed("models", name, error, "problem" if needed else "warning")
    precision = f", in {given.dtype}" if given.dtype else ""
    return Finding(
        "models", name, "ok", f"{folder} ({total / 1e6:,.0f} MB{precision}{default})",
        values={"uri": uri, "folder": str(folder), "bytes": total},
    )  # fmt: skip


def _bytes(folder: Path, uri: Uri) -> int:
    """Size of the weights, each file of which is whole."""
    from safetensors import safe_open

    files = sorted(folder.rglob("*.safetensors"))
    again = f"copy the model's files to {folder} again"
    if folder.is_relative_to(home() / "models"):
        again = f"remove {folder} and run sqlllm pull {uri.pulled_as}"
    if not files:
        msg = f"{folder} has no weights in safetensors"
        raise ModelMissing(msg, hint=again)
    for path in files:
        try:
            with safe_open(path, "np"):  # reads the header, and whether the rest is there
                pass
        except Exception as error:
            msg = f"{path} is damaged: {error}"
            raise ModelMissing(msg, hint=again) from error
    return sum(path.stat().st_size for path in files)
