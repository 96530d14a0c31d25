"""A report's file: it replaces an earlier report and nothing else, and is there whole or not."""

from __future__ import annotations

from pathlib import Path

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
    if path.is_dir():
        msg = f"the report {str(path)!r} is a folder"
        raise ConfigError(msg, hint=f"name a file in it, such as {str(path / 'report.html')!r}")
    if not path.parent.is_dir():
        msg = f"there is no folder {str(path.parent)!r} for the report"
        raise ConfigError(msg, hint="make it, or write the report elsewhere")
    if path.exists() and not _is_report(path):
        msg = f"{str(path)!r} is there already and is no report"
        raise ConfigError(msg, hint="choose another name for the report, or remove that file")


def write(path: Path, report: Report) -> None:
    """Write the page.

    Raises:
        ConfigError: The file can't be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(page(report), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        msg = f"the report {str(path)!r} can't be written: {error.strerror or error}"
        raise ConfigError(msg) from error
    finally:
        part.unlink(missing_ok=True)


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except OSError:
        return False
