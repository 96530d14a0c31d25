"""LLM functions inside DuckDB SQL, on your own models, in your own process."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sqlllm.errors import (
    BadAnswer,
    BudgetExceeded,
    CallError,
    CatalogTaken,
    ConfigError,
    InputTooLong,
    JobRunning,
    ModelCannot,
    ModelError,
    ModelMissing,
    NotDelivered,
    PullFailed,
    SqlllmError,
    StorageError,
    StorageWarning,
    UnknownArgument,
    UnknownFunction,
    UnknownModel,
)
from sqlllm.models.base import Batch, Model
from sqlllm.models.fake import FakeModel
from sqlllm.settings import Settings
from sqlllm.task import Task

if TYPE_CHECKING:
    from sqlllm.connection import Connection, connect
    from sqlllm.installation import install
    from sqlllm.jobs.run import RunResult, run

__version__ = "0.1.0"

__all__ = [
    "BadAnswer",
    "Batch",
    "BudgetExceeded",
    "CallError",
    "CatalogTaken",
    "ConfigError",
    "Connection",
    "FakeModel",
    "InputTooLong",
    "JobRunning",
    "Model",
    "ModelCannot",
    "ModelError",
    "ModelMissing",
    "NotDelivered",
    "PullFailed",
    "RunResult",
    "Settings",
    "SqlllmError",
    "StorageError",
    "StorageWarning",
    "Task",
    "UnknownArgument",
    "UnknownFunction",
    "UnknownModel",
    "connect",
    "install",
    "run",
]


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext sqlllm` in a notebook: the magics `%ai` and `%%ai`."""
    from sqlllm.notebook import load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext sqlllm`."""
    from sqlllm.notebook import unload

    unload(shell)


HOMES = {
    "Connection": "connection",
    "connect": "connection",
    "install": "installation",
    "RunResult": "jobs.run",
    "run": "jobs.run",
}
"""Names that are loaded when they are first used, and their modules."""


def __getattr__(name: str) -> Any:
    """Load duckdb and pyarrow with the first connection, so that `import sqlllm` stays fast."""
    if name not in HOMES:
        msg = f"module 'sqlllm' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"sqlllm.{HOMES[name]}"), name)
