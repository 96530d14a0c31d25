"""LLM functions inside DuckDB SQL, on your own models, in your own process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlllm.errors import (
    BadAnswer,
    CallError,
    CatalogTaken,
    ConfigError,
    InputTooLong,
    ModelCannot,
    ModelError,
    ModelMissing,
    PullFailed,
    SqlllmError,
    UnknownArgument,
    UnknownFunction,
    UnknownModel,
)
from sqlllm.models.base import Batch, Model
from sqlllm.models.fake import FakeModel
from sqlllm.settings import Settings
from sqlllm.task import Task

if TYPE_CHECKING:
    from sqlllm.connection import Connection, connect, install

__version__ = "0.1.0"

__all__ = [
    "BadAnswer",
    "Batch",
    "CallError",
    "CatalogTaken",
    "ConfigError",
    "Connection",
    "FakeModel",
    "InputTooLong",
    "Model",
    "ModelCannot",
    "ModelError",
    "ModelMissing",
    "PullFailed",
    "Settings",
    "SqlllmError",
    "Task",
    "UnknownArgument",
    "UnknownFunction",
    "UnknownModel",
    "connect",
    "install",
]


def __getattr__(name: str) -> Any:
    """Load duckdb and pyarrow with the first connection, so that `import sqlllm` stays fast."""
    if name in ("Connection", "connect", "install"):
        from sqlllm import connection

        return getattr(connection, name)
    msg = f"module 'sqlllm' has no attribute {name!r}"
    raise AttributeError(msg)
