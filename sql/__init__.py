"""The public SQL surface: one macro or view per file, readable alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# For other macros and for the rewriter.
INTERNAL = (
    "_answer",
    "_estimate",
    "_filter_options",
    "_pair",
    "_relation",
    "_candidates",
    "_search_texts",
)
VIEWS = ("models", "functions", "usage", "errors")
ORDER = (
    "complete", "extract", "classify", "classify_scores", "filter", "match", "score", "embed",
    "similarity", "count_tokens", "split_text", "search", "rrf",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definition:
    """One file: the statement, and what its header says."""

    name: str
    text: str
    about: str
    returns: str
    example: str
    arguments: tuple[str, ...]

    @property
    def public(self) -> bool:
        """Whether users call it."""
        return not self.name.startswith("_")

    @property
    def signature(self) -> str:
        """As it is written in the file, on one line, without what is for the rewriter alone."""
        found = re.search(rf"MACRO (ai\.{self.name}\(.*?\)) AS", self.text, re.DOTALL)
        line = " ".join(found[1].split()) if found else f"ai.{self.name}"
        return line.replace(", _stage := NULL", "")


@cache
def definitions() -> tuple[Definition, ...]:
    """Every file, in the order in which they must be created."""
    return tuple(_read(name) for name in (*INTERNAL, *ORDER, *VIEWS))


def _read(name: str) -> Definition:
    text = (files(__package__) / f"{name}.sql").read_text(encoding="utf-8")
    header = [line[3:] for line in text.splitlines() if line.startswith("-- ")]
    tags = {tag: value for line in header for tag, sep, value in [line.partition(": ")] if sep}
    about = " ".join(line for line in header if line.split(": ")[0] not in ("returns", "example"))
    found = re.search(r"MACRO ai\.\w+\((.*?)\) AS", text, re.DOTALL)
    arguments = re.findall(r"(?:^|,)\s*(?!_)(\w+)", found[1]) if found else []
    return Definition(name, text, about, tags["returns"], tags["example"], tuple(arguments))
