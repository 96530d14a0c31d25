"""A report's file: it replaces an earlier report and nothing else, and is there whole or not."""

from __future__ import annotations

from pathlib import Path

from sqlllm import files
from sqlllm.errors import ConfigError
from sqlllm.report.content import Report
from sqlllm.report.page import MARK, page
from sqlllm.runtime.history import Ran


def check(path: Path, samples: int) -> None:
    """Refuse what can't be written, before anything is asked.

    Raises:
        ConfigError: There is a folder, or a file that is no report, or no folder to write in; or
            so many samples are not kept.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 <= samples <= Ran.MOST:
        msg = f"samples must be 0 to {Ran.MOST}, not {samples!r}"
        raise ConfigError(msg)
    files.check(path, "report")
    if path.exists() and not _is_report(path):
        msg = f"{str(path)!r} is there already and is no report"
        raise ConfigError(msg, hint="choose another name for the report, or remove that file")


def write(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        ConfigError: The file can't be written.
    """
    try:
        with files.whole(path) as part:
            part.write_text(page(report), encoding="utf-8")
    except OSError as error:
        msg = f"the report {str(path)!r} can't be written: {error.strerror or error}"
        raise ConfigError(msg) from error


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False
