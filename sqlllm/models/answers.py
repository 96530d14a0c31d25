"""How long a written answer may be, and what is wrong with one that ended too early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlllm.errors import BadAnswer, excerpt
from sqlllm.schema import DOUBLE, FLOAT, unreadable

if TYPE_CHECKING:
    from sqlllm.engine.decoding import Row
    from sqlllm.task import Task

MAX_TOKENS = 256  # of an answer, unless the call says otherwise
SPARE = 64  # what a rewritten text may have beside twice the tokens of the original


def room(task: Task, tokens: int) -> int:
    """Most tokens of the answer to a text of so many tokens.

    Example:
        >>> from sqlllm.task import Task
        >>> room(Task("complete"), 1000), room(Task("complete", whole=True), 1000)
        (256, 2064)
    """
    if task.max_tokens is not None:
        return task.max_tokens
    return max(MAX_TOKENS, 2 * tokens + SPARE) if task.whole else MAX_TOKENS


def longest(task: Task, space: int) -> int:
    """The longest text that leaves room for its answer in a space of so many; 0 or less: none."""
    text = space - room(task, 0)
    if task.whole and task.max_tokens is None:
        text = min(text, (space - SPARE) // 3)
    return text


def complaint(task: Task, row: Row, text: str) -> BadAnswer | None:
    """Why a row's text is no answer; None if it is one."""
    if row.rule is not None and not row.rule.accepting:
        return _incomplete(task, row, text)
    if task.schema and (problem := unreadable(text, FLOAT if task.shown else DOUBLE)):
        return BadAnswer(f"the answer {excerpt(text)} {problem}")
    if row.rule is None and task.whole and len(row.tokens) >= row.most:
        return BadAnswer(
            f"the answer was cut at {row.most - row.prompt} tokens: {excerpt(text)}",
            hint="raise `max_tokens`, or split the text",
        )
    return None


def _incomplete(task: Task, row: Row, text: str) -> BadAnswer:
    what = "JSON" if task.schema else f"text that matches {task.pattern!r}"
    if row.rule.problem:
        return BadAnswer(f"the answer stopped short of {what}: {row.rule.problem}")
    return BadAnswer(
        f"the answer was cut at max_tokens={row.most - row.prompt} before it was {what}: "
        f"{excerpt(text)}",
        hint="raise `max_tokens`, or limit the schema's texts and lists (maxLength, maxItems)",
    )


def up_to_stop(text: str, task: Task) -> str:
    """The text up to the first stop string."""
    ends = [at for stop in task.stop if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
