"""Where files lie that no setting names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sqlllm.errors import ConfigError

CACHE_FILE, STATE_FILE = "answers-1.sqlite", "state-1.sqlite"


def place(given: str | os.PathLike[str]) -> Path:
    """A path as somebody wrote it, from the folder that the process is in now.

    Raises:
        ConfigError: The folder it begins with isn't known: no such user, or the working folder is
            gone.
    """
    try:
        return Path(given).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        msg = f"{os.fspath(given)!r} is no place here: {error}"
        raise ConfigError(msg, hint="write the path from / on") from error


def home() -> Path:
    """The folder for models and the cache: `$SQLLLM_HOME`, or this system's for sqlllm."""
    import platformdirs

    return _folder(platformdirs.user_cache_dir)


def state_home() -> Path:
    """The folder for the state file: `$SQLLLM_HOME`, or this system's for state."""
    import platformdirs

    return _folder(platformdirs.user_state_dir)


def _folder(system: Callable[[str], str]) -> Path:
    if override := os.environ.get("SQLLLM_HOME"):
        return place(override)
    try:
        return Path(system("sqlllm"))
    except RuntimeError as error:  # a container's user that /etc/passwd doesn't have
        msg = f"models, answers and records have no folder: {error}"
        raise ConfigError(msg, hint="set HOME or SQLLLM_HOME") from error


def files_of_relative_home() -> dict[str, Path]:
    """Its files as settings, if it is relative: they stay when the process changes its folder."""
    given = os.environ.get("SQLLLM_HOME")
    if not given or Path(given).is_absolute():
        return {}
    return {"cache_file": home() / CACHE_FILE, "state_file": home() / STATE_FILE}
