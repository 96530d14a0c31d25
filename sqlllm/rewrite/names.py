"""`ai_x(...)` becomes `ai.x(...)`; unknown functions, wrong and missing arguments are refused.

DuckDB's own message for a wrong or missing argument of a macro doesn't name it, and DuckDB takes
options by position: `AI_COMPLETE('model', 'prompt')`, as a warehouse has it, would quietly ask
something else. The rule works on tokens and keeps the text as long as it was, so that positions in
DuckDB's messages stay those of the user's text; what sqlglot can't parse passes through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlllm.errors import CallError, UnknownArgument, UnknownFunction, did_you_mean

Functions = Mapping[str, Mapping[str, bool]]
"""Function -> its arguments, and whether each has a default."""

NAMING = ("MACRO", "FUNCTION", "TABLE", "VIEW", "INTO", "EXISTS")
"""Keywords before the name of something that is made or filled; its parentheses hold columns."""


_CALLS = re.compile(r'\bai(?:_|"?\s*\.)', re.IGNORECASE)


def names(sql: str, functions: Functions) -> str:
    """Apply the rule.

    Example:
        >>> names("SELECT ai_embed(x) FROM ai_embed_log", {"embed": {"text": False}})
        'SELECT ai.embed(x) FROM ai_embed_log'
        >>> names('SELECT "ai"."embed"(x)', {"embed": {"text": False}})
        'SELECT ai.embed    (x)'
    """
    if not _CALLS.search(sql):
        return sql
    from sqlglot.errors import SqlglotError

    try:
        tokens = _tokens(sql)
    except SqlglotError:
        return sql  # DuckDB says what is wrong with it
    text = list(sql)
    for i, token in enumerate(tokens):
        word = sql[token.start : token.end + 1].lower()
        if word.startswith("ai_") and word[3:] in functions and _type(tokens, i + 1) == "L_PAREN":
            if i and _type(tokens, i - 1) in ("DOT", *NAMING):
                continue
            text[token.start + 2] = "."
            _check_arguments(word[3:], functions[word[3:]], tokens, i + 1, sql)
        elif word.strip('"') == "ai" and _type(tokens, i + 1) == "DOT":
            if _type(tokens, i + 3) != "L_PAREN" or _type(tokens, i - 1) in ("DOT", *NAMING):
                continue
            name = sql[tokens[i + 2].start : tokens[i + 2].end + 1].strip('"').lower()
            if name not in functions:
                msg = f"there is no function ai.{name}"
                public = [
                    known for known in functions if not known.removeprefix("try_").startswith("_")
                ]
                raise UnknownFunction(msg, hint=did_you_mean(name, public))
            _check_arguments(name, functions[name], tokens, i + 3, sql)
            start, end = token.start, tokens[i + 2].end + 1
            if not sql[start:end].lower().startswith("ai."):
                text[start:end] = f"ai.{name}".ljust(end - start)
    return "".join(text)


def _tokens(sql: str) -> Sequence[Any]:
    import sqlglot

    return sqlglot.tokenize(sql, dialect="duckdb")


def _type(tokens: Sequence[Any], i: int) -> str:
    return str(tokens[i].token_type.name) if 0 <= i < len(tokens) else ""


def _check_arguments(
    name: str, known: Mapping[str, bool], tokens: Sequence[Any], start: int, sql: str
) -> None:
    """Refuse what the parentheses that open at `start` can't hold, or lack."""
    depth, named, positions, words = 0, False, 0, set()
    for i in range(start, len(tokens)):
        kind = _type(tokens, i)
        if kind in ("L_PAREN", "L_BRACKET", "L_BRACE"):
            depth += 1
            if i == start and _type(tokens, i + 1) == "R_PAREN":
                break
        elif kind in ("R_PAREN", "R_BRACKET", "R_BRACE"):
            depth -= 1
        elif depth == 1 and kind == "ORDER_BY":
            positions += not named
            break  # of an aggregate: no arguments come behind it
        elif depth == 1 and kind in ("COLON_EQ", "FARROW"):
            before = tokens[i - 1]
            word = sql[before.start : before.end + 1].strip('"').lower()
            named = True
            if word not in known:
                msg = f"ai.{name} has no argument {word!r}"
                raise UnknownArgument(msg, hint=did_you_mean(word, known))
            words.add(word)
        if depth == 0 or (depth == 1 and kind == "COMMA"):
            positions += not named
            named = False
        if depth == 0:
            break
    else:
        return  # DuckDB says what isn't closed
    options = [argument for argument, optional in known.items() if optional]
    needed = [argument for argument, optional in known.items() if not optional]
    most = len(needed)
    if options and positions > most:
        arguments = "argument" if most == 1 else "arguments"
        msg = f"ai.{name} takes {most} {arguments} without a name, not {positions}"
        raise UnknownArgument(msg, hint=f"name the options, such as `{options[0]} := ...`")
    missing = [argument for argument in needed[positions:] if argument not in words]
    if missing:
        msg = f"ai.{name} lacks the argument {missing[0]!r}"
        raise CallError(msg, hint=f"write ai.{name}({', '.join(needed)})")
