"""Where a statement ends, in what is typed or piped into the shell."""

from __future__ import annotations

import re
from collections.abc import Iterator

LEAVE = ("exit", "quit", ".exit", ".quit")

TOKEN = re.compile(
    r"""(?P<blank>\s+|(?P<comment>--[^\r\n]*|/\*.*?\*/))
    |(?P<end>;)
    |(?P<string>e'(?:[^'\\]|\\.)*'|'(?:[^']+|'')*+'|\$(?P<tag>([^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    |"(?:[^"]+|"")*+"
    |(?P<open>e?'|"|/\*|\$([^\W\d]\w*)?\$)
    |\w[\w$]*|.""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""A word, a sign, or what is in quotes or a comment; `open` is one that nothing closes."""

COMMENTS = re.compile(r"(?:\s+|--[^\r\n]*|/\*.*?\*/)*", re.DOTALL)

LINE = re.compile(r"[^\n]*")


def is_complete(text: str) -> bool:
    """Whether Enter runs the text: a command with a dot, or statements that end with `;`.

    Example:
        >>> is_complete("SELECT ';'"), is_complete("SELECT 1; -- one"), is_complete(".tables")
        (False, True, True)
    """
    text = text.strip()
    command = COMMENTS.sub("", text, count=1)
    return not text or _is_command(command) or any(end == len(text) for end in _ends(text, 0))


def pieces(text: str) -> Iterator[str]:
    """A script in parts that can be run one after the other: commands with a dot and statements.

    Each is as it stands there, to the character: what is in quotes is data.

    Example:
        >>> list(pieces(".mode csv\\nSELECT\\n1; SELECT 2;\\nSELECT 3"))
        ['.mode csv', 'SELECT\\n1; SELECT 2;', 'SELECT 3']
    """
    at = 0
    while at < len(text):
        begin = COMMENTS.match(text, at).end()  # type: ignore[union-attr]  # it may be empty
        line = LINE.match(text, begin)
        if line and _is_command(line[0].strip()):
            piece, at = line[0], line.end()
        else:
            end = next(_ends(text, at), len(text))
            piece, at = text[at:end], end
        if piece := piece.strip():
            yield piece


def _is_command(text: str) -> bool:
    if text.lower().startswith(".explain "):
        return False
    return text.startswith(".") or text.rstrip(";").lower() in LEAVE


def _ends(text: str, at: int) -> Iterator[int]:
    """Where a line ends and a statement with it, in one pass: a script may be a large one."""
    ended = False
    for token in TOKEN.finditer(text, at):
        if token["open"]:
            return
        if not token["blank"]:
            ended = token["end"] is not None
        elif ended and token[0].isspace() and "\n" in token[0]:
            yield token.end()
    if ended:
        yield len(text)
