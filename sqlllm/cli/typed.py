"""Where a statement ends, in what is typed or piped into the shell."""

from __future__ import annotations

from collections.abc import Iterator

import sqlglot
from sqlglot.errors import SqlglotError

LEAVE = ("exit", "quit", ".exit", ".quit")


def is_complete(text: str) -> bool:
    """Whether Enter runs the text: a command with a dot, or statements that end with `;`.

    Example:
        >>> is_complete("SELECT ';'"), is_complete("SELECT 1; -- one"), is_complete(".tables")
        (False, True, True)
    """
    text = text.strip()
    is_command = text.startswith(".") and not text.startswith(".explain ")
    if not text or is_command or text.rstrip(";").lower() in LEAVE:
        return True
    if ";" not in text:
        return False
    try:
        tokens = sqlglot.tokenize(text.removeprefix(".explain "), dialect="duckdb")
    except SqlglotError:
        return False  # something in quotes goes on
    return bool(tokens) and tokens[-1].token_type.name == "SEMICOLON"


def pieces(text: str) -> Iterator[str]:
    """A script in parts that can be run one after the other: commands with a dot and statements.

    Example:
        >>> list(pieces(".mode csv\\nSELECT\\n1; SELECT 2;\\nSELECT 3"))
        ['.mode csv', 'SELECT\\n1; SELECT 2;', 'SELECT 3']
    """
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        piece = "\n".join(lines).strip()
        if not piece or is_complete(piece):
            yield from [piece] if piece else []
            lines.clear()
    if rest := "\n".join(lines).strip():
        yield rest
