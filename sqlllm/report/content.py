"""What a report tells, and what it keeps to itself."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from sqlllm.rewrite.script import bare, split
from sqlllm.runtime.history import Answered, Ran
from sqlllm.runtime.runtime import Runtime
from sqlllm.runtime.usage import Usage, added


@dataclass(slots=True)
class Part:
    """One statement of a report.

    Attributes:
        text: As it was written.
        sql: As DuckDB got it.
        fired: The rules that changed it.
        notes: Why it was left as it stands.
        state: `done`, `failed`, `not run`, ...
        message: Why it failed.
        seconds: That it took; None where only its calls were timed.
        usage: By function and model.
        answers: Some of each call.
    """

    text: str
    sql: str = ""
    fired: Sequence[str] = ()
    notes: Sequence[str] = ()
    state: str = "done"
    message: str | None = None
    seconds: float | None = None
    usage: dict[tuple[str, str], Usage] = field(default_factory=dict)
    answers: Answered = field(default_factory=dict)

    def take(self, ran: Iterable[Ran]) -> None:
        """Add what scripts asked that were run on behalf of this statement."""
        for each in ran:
            for key, usage in each.usage.items():
                added(self.usage.setdefault(key, Usage(0, *key)), usage)
            self.answers = {**self.answers, **each.answers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One page.

    Attributes:
        title: The job's name, or what else was run.
        state: How it ended.
        message: Why it failed.
        started: Seconds since 1970.
        seconds: That it took; None where only calls were timed.
        facts: What else is known, by name.
        parts: The statements.
        models: The fingerprint of each model, by name.
        failures: The rows of `ai.errors`.
        samples: Most answers shown per call.
        texts: Whether the beginnings of texts stand beside them.
    """

    title: str
    state: str
    message: str | None = None
    started: float
    seconds: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[Mapping[str, Any]] = ()
    samples: int = 5
    texts: bool = False

    @property
    def total(self) -> Usage:
        """What all statements asked."""
        return summed(usage for part in self.parts for usage in part.usage.values())

    def quoted(self, message: str) -> str:
        """A message, which may quote a text: without that where no samples are wanted."""
        if self.samples:
            return message
        if kind := _OF_ROWS.match(message):
            return f"{kind[0]} …"
        known = {*self.models, *(function for part in self.parts for function, _ in part.usage)}
        for quote in _OPENED.finditer(message):
            if quote[1] not in known:  # a text: it may hold quotes, and be cut before its last one
                last = [closed.end() for closed in _CLOSED.finditer(message, quote.start() + 1)]
                return f"{message[: quote.start()]}'…'{message[last[-1] :] if last else ''}"
        return message


# What DuckDB says then may have a row's value without quotes, as a number.
_OF_ROWS = re.compile(r"(Conversion|Constraint|Invalid Input|Out of Range) Error:(?! Python)")
# Of a word such as `can't`, it is neither.
_OPENED = re.compile(r"(?<!\w)['\"](?:([^'\"]*)['\"])?")
_CLOSED = re.compile(r"['\"](?!\w)")


def summed(rows: Iterable[Usage]) -> Usage:
    """All rows as one."""
    total = Usage(0, "", "")
    for row in rows:
        added(total, row)
    return total


def of_session(runtime: Runtime, *, samples: int, texts: bool) -> Report:
    """The latest statements of a database's connections."""
    parts = []
    for ran in runtime.statements.history:
        state = "failed" if ran.error else "done"
        part = Part(ran.text, ran.sql, ran.fired, ran.notes, state, ran.error)
        part.take([ran])
        parts.append(part)
    began = min((ran.began for ran in runtime.statements.history), default=time.time())
    asked = {model for part in parts for _, model in part.usage}
    return Report(
        title="a session",
        state="open",
        started=began,
        facts=versions(),
        parts=parts,
        models={name: runtime.registry.get(name).fingerprint for name in sorted(asked)},
        failures=[row for row in runtime.ledger.failures() if row["this_session"]],
        samples=samples,
        texts=texts,
    )


def versions() -> dict[str, str]:
    """Of what the answers depend on."""
    import sqlllm

    return {
        "sqlllm": sqlllm.__version__,
        "DuckDB": duckdb.__version__,
        "Python": platform.python_version(),
    }


_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)+"
_PRIVATE = re.compile(
    rf"(EXPLAIN{_GAP}(ANALYZE{_GAP})?)?"
    rf"(CREATE{_GAP}(OR{_GAP}REPLACE{_GAP})?(\w+{_GAP})?SECRET|ATTACH|SET|PRAGMA)\b",
    re.IGNORECASE | re.DOTALL,
)
_TEXT = re.compile(
    r"\be'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$\w*\$.*?\$\w*\$", re.DOTALL | re.IGNORECASE
)
_BARE = re.compile(  # a value that DuckDB takes without quotes, too: SECRET abc; = abc; TO abc
    r"([(,]\s*(?!TYPE\b|PROVIDER\b)\w+\s+)\"?[^\s'\",()]+\"?(?=\s*[,)])"
    r"|((?:=|\bTO\b)\s*)\"?(?![\d.]+\Z|true\Z|false\Z)[^\s'\"()\[]+\"?\Z",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(://)[^/\s']+@")
_KEY = re.compile(
    r"(\bpassword=|[?&][\w-]*(?:key|token|secret|password|sig|auth)[\w-]*=)[^&\s']+",
    re.IGNORECASE,
)


def without_keys(script: str) -> str:
    """SQL without the values of CREATE SECRET, ATTACH, SET and PRAGMA, and what opens an address.

    Example:
        >>> without_keys("SET s3_region = 'x'; SELECT 'x' FROM 's3://a/b?s3_secret_key=123'")
        "SET s3_region = '…';\\nSELECT 'x' FROM 's3://a/b?s3_secret_key=…'"
        >>> without_keys("SET k TO abc; CREATE SECRET s (TYPE http, BEARER_TOKEN abc)")
        "SET k TO '…';\\nCREATE SECRET s (TYPE http, BEARER_TOKEN '…')"
        >>> without_keys("SET threads = 4; FROM postgres_scan('host=h password=abc', 's', 't')")
        "SET threads = 4;\\nFROM postgres_scan('host=h password=…', 's', 't')"
    """
    shown = []
    for statement in split(script):
        text = bare(statement)
        if _PRIVATE.match(text):
            text = _BARE.sub(r"\1\2'…'", _TEXT.sub("'…'", text))
        shown.append(_KEY.sub(r"\1…", _LOGIN.sub(r"\1…@", text)))
    return ";\n".join(shown)


def variables(given: Mapping[str, Any]) -> str:
    """Variables of a job: numbers and dates as they are; other texts may be anything."""

    def shown(value: Any) -> str:
        text = str(value)
        plain = re.fullmatch(r"-?\d[\d.:T -]{0,30}", text)
        return text if plain or not isinstance(value, str) else f"({len(text)} characters)"

    return ", ".join(f"{name} = {shown(value)}" for name, value in given.items())
