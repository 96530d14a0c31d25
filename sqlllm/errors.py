"""Every exception that sqlllm raises.

* SqlllmError
  x ConfigError            what was set up can't work: fix the settings or the call to `connect`
    + CatalogTaken         the database already has a catalog or schema named `ai`
    + UnknownModel         no model of that name
    + ModelMissing         the model is known, its files are not on this machine
    + PullFailed           `sqlllm pull` could not fetch or verify a model
  x CallError              a call in SQL can't mean anything: fix the query (also a ValueError)
    + UnknownFunction      no function of that name in `ai`
    + UnknownArgument      a named argument that the function doesn't have
  x ModelError             the model could not answer
    + ModelCannot          this kind of model can't do this kind of task
    + InputTooLong         a text is longer than the model's window
    + BadAnswer            the model answered, but not in the form that was asked for
  x BudgetExceeded         a budget is used up: what was answered is kept
  x JobRunning             another process runs the same job, or has the database open
  x StorageError           the cache or the record of runs can't be read or written
    + NotDelivered         all is done and committed, but the result is not where it belongs

Not errors, but warnings: StorageWarning, when answers or usage are not kept, or were lost.

`str(error)` is complete: DuckDB passes on the text of an exception inside a UDF and drops its
type. `Connection` raises the original.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from contextlib import suppress


class SqlllmError(Exception):
    """Base of all errors of this package.

    Attributes:
        hint: What to do next, or None. It is the last line of `str(error)`.
        retryable: Whether the same call may succeed later without a change.
    """

    retryable: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message}\nHint: {hint}" if hint else message)
        # Polars makes an exception anew of its type and text, with a paragraph of its own behind.
        self.hint = hint or message.partition("\nHint: ")[2].partition("\n\n")[0] or None

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message, since the traceback is of frames of ours."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(SqlllmError):
    """The settings or the database can't work together."""


class CatalogTaken(ConfigError):
    """The database already has a catalog or schema named `ai`."""


class UnknownModel(ConfigError):
    """No model of that name is configured."""


class ModelMissing(ConfigError):
    """The model is known, but its files are not on this machine."""


class PullFailed(ConfigError):
    """A model could not be fetched, converted or verified."""

    retryable = True


class CallError(SqlllmError, ValueError):
    """A call in SQL that can't be carried out as it is written."""


class UnknownFunction(CallError):
    """No function of that name in `ai`."""


class UnknownArgument(CallError):
    """A named argument that the function doesn't have."""


class ModelError(SqlllmError):
    """The model could not answer."""


class ModelCannot(ModelError):
    """This kind of model can't do this kind of task."""


class InputTooLong(ModelError):
    """A text is longer than the model's window."""


class BadAnswer(ModelError):
    """The model answered, but not in the form that was asked for."""


class BudgetExceeded(SqlllmError):
    """A budget of calls, tokens, seconds or cost is used up."""

    retryable = True


class JobRunning(SqlllmError):
    """Another process runs the same job, or has the database open."""

    retryable = True


class StorageError(SqlllmError):
    """The cache or the record of runs can't be read or written."""


class NotDelivered(StorageError):
    """All is done and committed, but the result is not where it belongs: don't repeat it."""


class StorageWarning(UserWarning):
    """Answers or usage are not kept, or were lost; no query fails for it."""


def first_line(error: BaseException) -> str:
    """What is wrong, without the hint."""
    return str(error).partition("\n")[0]


def let_go(error: BaseException | None) -> None:
    """Free what frames of this package hold, which a traceback keeps as long as the error.

    A failed call would keep the texts and answers of its statement; with the errors among them, in
    a circle. Frames of others, such as a model of the user's, stay for a debugger.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("sqlllm."):
                with suppress(RuntimeError):  # it runs
                    frame.clear()
        error = error.__cause__ or error.__context__


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The nearest of `known` as a question, or all of them when none is near.

    Example:
        >>> did_you_mean("clasify", ["classify", "embed"])
        'did you mean `classify`?'
        >>> did_you_mean("zzz", ["classify", "embed"])
        'known are `classify`, `embed`'
    """
    names = sorted(known)
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return "known are " + ", ".join(f"`{name}`" for name in names) if names else None


def excerpt(text: str, width: int = 60) -> str:
    """The beginning of `text` on one line, quoted, for an error message.

    Example:
        >>> excerpt("a\\nb")
        "'a b'"
    """
    line = " ".join(text[: width * 4].split())
    return repr(line[:width] + ("…" if len(line) > width or len(text) > width * 4 else ""))
