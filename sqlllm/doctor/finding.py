"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from sqlllm.errors import SqlllmError, first_line

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        section: `versions`, `extras`, `device`, `settings`, `models`, `files` or `speed`.
        name: What was looked at.
        status: `ok`; `warning`: it works, but not as well as it could; `problem`: it doesn't.
        found: For a person to read.
        fix: What to do: a command, or an instruction; None where there is nothing to do.
        values: The numbers behind `found`, for programs.
    """

    section: str
    name: str
    status: Status
    found: str
    fix: str | None = None
    values: dict[str, Any] = field(default_factory=dict)


def failed(
    section: str,
    name: str,
    error: BaseException,
    status: Status = "problem",
    *,
    fix: str | None = None,
) -> Finding:
    """An error as a finding; its hint is the fix, where there is no other.

    Example:
        >>> from sqlllm.errors import ModelMissing
        >>> error = ModelMissing("model 'm' is not here", hint="run `sqlllm pull m`")
        >>> failed("models", "m", error).fix
        'sqlllm pull m'
    """
    if not isinstance(error, SqlllmError):
        line = f"{type(error).__name__}: {error}"
        return Finding(section, name, status, " ".join(line.split())[:300], fix)
    hint = error.hint
    if hint and hint.startswith("run `") and hint.endswith("`"):
        hint = hint[5:-1]
    return Finding(section, name, status, first_line(error), fix or hint)
