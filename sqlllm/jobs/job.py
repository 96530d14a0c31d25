"""What a job is: its script, database, variables, budgets and settings, from a call or a file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sqlllm.errors import ConfigError, did_you_mean
from sqlllm.settings import Settings
from sqlllm.settings_file import PATHS

FORMATS = ("table", "markdown", "csv", "json", "parquet")
SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet",
    ".md": "markdown", ".txt": "table"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """One job. Paths in a job file are relative to that file.

    Attributes:
        script: The file of SQL statements.
        database: A DuckDB file, or `:memory:`.
        name: What `ai.runs` calls it; None: the path of the script.
        variables: Read in SQL as `getvariable('name')`.
        budgets: Of one run, such as `{"max_calls": 1000}`; or per scope, as in the settings.
        to: Where the last statement's result is written; None: nowhere.
        output: In which of `FORMATS`; None: as the name of `to` ends.
        report: Where a page is written that tells what the run did; None: nowhere.
        report_samples: Most answers that it shows per call.
        report_texts: Whether the beginnings of the texts that they are about stand beside them.
        settings: Any of `sqlllm.Settings`.
    """

    script: Path
    database: str = ":memory:"
    name: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    budgets: Mapping[str, Any] = field(default_factory=dict)
    to: Path | None = None
    output: str | None = None
    report: Path | None = None
    report_samples: int = 5
    report_texts: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse values that can't work."""
        if self.output is not None and self.output not in FORMATS:
            msg = f"unknown output {self.output!r}"
            raise ConfigError(msg, hint=did_you_mean(self.output, FORMATS))
        if self.report_texts not in (True, False):  # "false" would show them
            msg = f"report_texts must be true or false, not {self.report_texts!r}"
            raise ConfigError(msg)

    @classmethod
    def load(cls, path: Path, **given: Any) -> JobFile:
        """A job from a `.sql` script, or from a `.toml` file that names one; `given` on top.

        Raises:
            ConfigError: The file can't be read, or has an entry that is unknown.
        """
        found: dict[str, Any] = _read(path) if path.suffix == ".toml" else {"script": path}
        for name in ("variables", "budgets", "settings"):
            given[name] = {**found.get(name, {}), **(given.get(name) or {})}
        job = cls(**{**found, **{k: v for k, v in given.items() if v is not None}})
        if not job.script.is_file():
            msg = f"there is no script {str(job.script)!r}"
            raise ConfigError(msg)
        if job.database != ":memory:":
            job = replace(job, database=str(Path(job.database).expanduser().resolve()))
        return replace(job, script=job.script.resolve())

    @property
    def sql(self) -> str:
        """What the script says.

        Raises:
            ConfigError: It can't be read, or isn't UTF-8.
        """
        return _text(self.script, "script")

    @property
    def limits(self) -> dict[str, Any]:
        """The budgets as a setting: numbers alone are the run's."""
        nested = {k: v for k, v in self.budgets.items() if isinstance(v, Mapping)}
        mine = {k: v for k, v in self.budgets.items() if k not in nested}
        return {**nested, "job": {**nested.get("job", {}), **mine}} if mine else nested


def form_of(path: Path | None) -> str:
    """The format that a file's name stands for; a table where the name has no ending.

    Raises:
        ConfigError: It ends otherwise: a table cut for reading is no `.tsv` and no `.csv.gz`.
    """
    ending = path.suffix.lower() if path else ""
    if ending and ending not in SUFFIXES:
        msg = f"{str(path)!r} doesn't tell the format: it ends with none of {', '.join(SUFFIXES)}"
        raise ConfigError(msg, hint=f"say it, by `output`: {', '.join(FORMATS)}")
    return SUFFIXES.get(ending, "table")


TYPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("script", "database", "name", "to", "output", "report"), (str, "text")),
    **dict.fromkeys(("variables", "budgets"), (dict, "a table")),
    "report_samples": (int, "a number"),
    "report_texts": (bool, "true or false"),
}
"""Of a job file's own entries; the settings have theirs."""


def _text(path: Path, what: str) -> str:
    try:
        # Not as text, where the ends of lines would be others: some stand in quotes.
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        msg = f"the {what} {str(path)!r} can't be read: {error.strerror}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"the {what} {str(path)!r} is not UTF-8: {error}"
        raise ConfigError(msg, hint="`iconv -t utf-8` converts text") from error


def _read(path: Path) -> dict[str, Any]:
    """The entries of a job file, as arguments of `JobFile`."""
    try:
        values = tomllib.loads(_text(path, "job file"))
    except tomllib.TOMLDecodeError as error:
        msg = f"{path} is not valid TOML: {error}"
        raise ConfigError(msg) from error
    own = {f.name for f in fields(JobFile)} - {"settings"}
    options = {f.name for f in fields(Settings)} - own - {"progress"}
    for name in values:
        if name not in own | options:
            msg = f"{path}: unknown entry {name!r}"
            raise ConfigError(msg, hint=did_you_mean(name, own | options))
    if "script" not in values:
        msg = f"{path} names no script"
        raise ConfigError(msg, hint='write script = "job.sql"')
    for name in own & set(values):
        kind, called = TYPES[name]
        if type(values[name]) is not kind:
            msg = f"{path}: {name} must be {called}, not {values[name]!r}"
            raise ConfigError(msg)
    for name in ("script", "database", "to", "report", *PATHS):
        given = values.get(name)
        if isinstance(given, str) and given != ":memory:":
            found_at = path.parent / Path(given).expanduser()
            values[name] = str(found_at) if name in ("database", *PATHS) else found_at
    found = {name: value for name, value in values.items() if name in own}
    return {**found, "settings": {k: v for k, v in values.items() if k in options}}


def variable(text: str) -> tuple[str, int | float | str]:
    """A variable from `name=value` on the command line.

    What reads exactly as a number is written becomes one; all else is text: `007`, `1.50`, dates
    and `true` too. So text can always be had back by a cast.

    Example:
        >>> variable("n=5"), variable("zip=01234"), variable("x=0.5"), variable("q=a=b")
        (('n', 5), ('zip', '01234'), ('x', 0.5), ('q', 'a=b'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        msg = f"{text!r} is not name=value"
        raise ConfigError(msg)
    if re.fullmatch(r"0|-?[1-9]\d{0,17}", value):
        return name.strip(), int(value)
    if re.fullmatch(r"-?\d+\.\d+", value) and repr(float(value)) == value:
        return name.strip(), float(value)
    return name.strip(), value
