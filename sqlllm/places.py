"""Where files lie that no setting names."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_FILE, STATE_FILE = "answers-1.sqlite", "state-1.sqlite"


def place(given: str | os.PathLike[str]) -> Path:
    """A path as somebody wrote it, from the folder that the process is in now."""
    return Path(given).expanduser().absolute()


def home() -> Path:
    """The folder for models and the cache: `$SQLLLM_HOME`, or this system's for sqlllm."""
    import platformdirs

    override = os.environ.get("SQLLLM_HOME")
    return place(override) if override else Path(platformdirs.user_cache_dir("sqlllm"))


def state_home() -> Path:
    """The folder for the state file: `$SQLLLM_HOME`, or this system's for state."""
    import platformdirs

    override = os.environ.get("SQLLLM_HOME")
    return place(override) if override else Path(platformdirs.user_state_dir("sqlllm"))


def files_of_relative_home() -> dict[str, Path]:
    """Its files as settings, if it is relative: they stay when the process changes its folder."""
    given = os.environ.get("SQLLLM_HOME")
    if not given or Path(given).is_absolute():
        return {}
    return {"cache_file": home() / CACHE_FILE, "state_file": home() / STATE_FILE}
