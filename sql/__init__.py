"""The public SQL surface: one macro or view per file, readable alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# For other macros and for the rewriter.
OVER_LISTS = ("_agg", "_summarize_agg")  # what an aggregate asks, over a list of its texts
INTERNAL = (
    "_answer", "_estimate", "_filter_options", "_pair", "_relation", "_candidates",
    "_search_texts", *OVER_LISTS,
)  # fmt: skip
TAGS = ("returns", "example", "signature")
VIEWS = ("models", "functions", "cache", "usage", "errors", "runs")
ORDER = (
    "prompt", "complete", "extract", "classify", "classify_scores", "classify_labels", "filter",
    "match", "try_match", "score", "embed", "similarity", "try_similarity", "sentiment", "moderate",
    "translate", "fix_grammar", "answer", "rerank", "redact", "summarize", "agg", "summarize_agg",
    "count_tokens", "split_text", "search", "rrf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definition:
    """One file: the statement, and what its header says."""

    name: str
    text: str
    about: str
    returns: str
    example: str
    arguments: Mapping[str, bool]  # name -> whether it has a default
    signature: str

    @property
    def public(self) -> bool:
        """Whether users call it."""
        return not self.name.removeprefix("try_").startswith("_")

    @property
    def tries(self) -> bool:
        """Whether it may fail on a row, and so has a twin `ai.try_<name>`."""
        scalar = (self.public or self.name in OVER_LISTS) and self.returns != "TABLE"
        asks = "on_error" in self.arguments or "current_query_id()" in self.text
        return scalar and asks


@cache
def definitions() -> tuple[Definition, ...]:
    """Every file, and each function's `ai.try_` twin, in the order in which they are created."""
    names = (*INTERNAL, *ORDER, *VIEWS)
    found: list[Definition] = []
    for each in map(_read, names):
        found += [each] if not each.tries or f"try_{each.name}" in names else [each, _trying(each)]
    return tuple(found)


def _trying(of: Definition) -> Definition:
    """`ai.try_<name>`: the same call of the UDF's twin, or of another function's."""
    text = re.sub(r",\s*on_error(: on_error| := on_error| := NULL)", "", of.text)
    text = text.replace(f"MACRO ai.{of.name}(", f"MACRO ai.try_{of.name}(")
    text = re.sub(r" AS JSON\);$", " AS STRUCT(value JSON, error VARCHAR));", text.strip())
    text, count = re.subn(r"(\) AS\n\s+(?:CAST\()?(?:system\.main\.__ai_|ai\.))", r"\1try_", text)
    example = of.example.replace(f"ai.{of.name}(", f"ai.try_{of.name}(")
    if count != 1:
        msg = f"sql/{of.name}.sql is no plain call: write sql/try_{of.name}.sql"
        raise ValueError(msg)
    return Definition(
        f"try_{of.name}",
        text,
        f"As ai.{of.name}, but what fails is told in `error` and stops no query.",
        f"STRUCT(value {of.returns}, error VARCHAR)",
        example.rpartition(")")[0] + ")",
        {name: optional for name, optional in of.arguments.items() if name != "on_error"},
        _signature(f"try_{of.name}", text),
    )


def _read(name: str) -> Definition:
    text = (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
    header = [line[3:] for line in text.splitlines() if line.startswith("-- ")]
    tags = {tag: value for line in header for tag, sep, value in [line.partition(": ")] if sep}
    about = " ".join(line for line in header if line.split(": ")[0] not in TAGS)
    found = re.search(r"MACRO ai\.\w+\((.*?)\) AS", text, re.DOTALL)
    pairs = re.findall(r"(?:^|,)\s*(?!_)(\w+)( :=)?", found[1]) if found else []
    arguments = {argument: bool(default) for argument, default in pairs}
    signature = tags.get("signature") or _signature(name, text)
    return Definition(name, text, about, tags["returns"], tags["example"], arguments, signature)


def _signature(name: str, text: str) -> str:
    """As it is written in the file, on one line, without what is for the rewriter alone."""
    found = re.search(rf"MACRO (ai\.{name}\(.*?\)) AS", text, re.DOTALL)
    line = " ".join(found[1].split()) if found else f"ai.{name}"
    return re.sub(r", _\w+ := \w+", "", line)
