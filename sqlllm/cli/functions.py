"""`sqlllm functions`: the functions as a table, or as the reference in sql/README.md."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlllm.cli import output
from sqlllm.sql import Definition, definitions

COMMON = {
    "model": "The model's name (`FROM ai.models`); a session's default is set by "
    "`SET VARIABLE ai_model = '...'`, `ai_embed_model` for embeddings.",
    "temperature": "0 is greedy. Above, answers are drawn at random.",
    "max_tokens": "Most tokens of an answer; 256 unless it is given.",
    "seed": "With the text, decides the random draws.",
    "truncate": "Read the beginning of a text that is longer than the model's window; else it "
    "fails.",
    "on_error": "`'fail'`: the query stops at the first row without an answer, with the reason. "
    "`'null'`: the row is NULL, and `ai.errors` has the reason.",
}
NOTE = f"… is {', '.join(COMMON)}, by name. Each has a twin ai.try_<name> that tells errors."

HEAD = """\
# Functions

Written by `make reference` from the files in this folder, one function each; the results are those
of the built-in models, which are small. The row's data comes first, options are named. All
functions that ask a model have these (…), unless their signature says otherwise:

| option | meaning |
|---|---|
{options}

**NULL** gives NULL and is never sent; an empty string is data. What is not text is cast to it.
**Errors**: an answer that failed, was cut off or has the wrong form is never returned as a value.
`ai.try_<function>(...)` takes the same arguments but `on_error` and returns
`STRUCT(value, error)`; one of the two is NULL, and nothing about a model or its answers stops the
query. There is one for every function that has `on_error`, but for `ai.search`, which is a table.
"""


def add_parser(commands: Any) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("functions", help="list the functions")
    parser.add_argument("--markdown", action="store_true", help="the whole reference")
    parser.set_defaults(run=functions)


def functions(given: argparse.Namespace) -> None:
    """Print them."""
    if given.markdown:
        from sqlllm.connection import connect

        with connect() as db:
            print(reference(lambda query: db.execute(query).fetchall()), end="")
        return
    output.table(["function", "returns"], [(short(each), each.returns) for each in listed()])
    print(NOTE)


def reference(run: Callable[[str], list[Any]] | None) -> str:
    """The reference as Markdown.

    Args:
        run: Gives the rows of an example; None leaves the results out.
    """
    options = "\n".join(f"| `{name}` | {text} |" for name, text in COMMON.items())
    parts = [HEAD.format(options=options)]
    parts += ["\n".join(_section(each, run)) for each in listed()]
    return "\n".join(parts)


def listed(*, tries: bool = False) -> Iterator[Definition]:
    """The public functions and views, or the `ai.try_` twins."""
    for definition in definitions():
        if definition.public and definition.name.startswith("try_") == tries:
            yield definition


def short(definition: Definition) -> str:
    """The signature, with the options that all functions have as `…`, NULL as no default."""
    common = "".join(rf", {name} := \w+" for name in COMMON)
    return re.sub(common, ", …", definition.signature).replace(" := NULL", " :=")


def _section(definition: Definition, run: Callable[[str], list[Any]] | None) -> Iterator[str]:
    yield f"## ai.{definition.name}\n"
    if definition.arguments:
        yield f"`{short(definition)}` → `{definition.returns}`\n"
    yield f"{definition.about}\n"
    yield f"```sql\n{definition.example};\n```\n"
    if run is not None and definition.arguments:
        yield f"{result(run(definition.example))}\n"


def result(rows: list[Any]) -> str:
    """What an example gave: its only value, or one line per row."""
    lines = [", ".join(map(_value, row)) for row in rows]
    return "\n".join(["```text", *lines, "```"])


def _value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return value
    return json.dumps(_rounded(value), ensure_ascii=False, default=str)


def _rounded(value: Any) -> Any:
    """Floats to three digits: the last ones differ between machines."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value
