"""Many texts, one answer: asked in parts, whose answers are combined until one prompt holds all.

All prompts of a level go to the model as one batch, those of all rows together. Nothing is left
out: texts are put into prompts in order, as many as fit, and one that is too long for a prompt is
split.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa

from sqlllm.call import Call
from sqlllm.errors import BadAnswer, CallError
from sqlllm.splitting import Count, split
from sqlllm.task import Task

ANSWER = 256  # tokens of an answer, unless the call says otherwise
FRAME = 32  # tokens of a heading
LINE = 8  # tokens of a piece's number and the end of its line
PART = 16  # tokens of "(part 2 of 3) "
SMALL = 512  # tokens of a part that need not be smaller
LEAST = 64  # tokens of text in a prompt, below which asking makes no sense

Layout = Callable[[Sequence[str]], str]
"""Pieces -> the text of a prompt."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """How texts become one answer.

    Attributes:
        final: What is asked of the one prompt that is left.
        partial: What is asked of each prompt while there are several.
        room: Most tokens of a prompt's text, where one prompt is enough.
        part: Most tokens of a prompt's text about a part of the data.
        rows: The text of a prompt over pieces of the data.
        answers: The text of a prompt over answers to `partial`.
    """

    final: Task
    partial: Task
    room: int
    part: int
    rows: Layout
    answers: Layout

    @classmethod
    def of(
        cls,
        call: Call,
        final: str,
        partial: str,
        rows: Layout,
        answers: Layout,
        *,
        most: int | None = None,
        answer: int = ANSWER,
    ) -> Reduction:
        """With prompts that fit the window of the call's model.

        Args:
            call: The call, with its options.
            final: The system message of the last prompt.
            partial: The system message of the others.
            rows: As in the class.
            answers: As in the class.
            most: Most tokens of a prompt's text, where the window allows more. None: the window
                alone decides what is asked at once, and what is longer is cut in quarters of it.
            answer: Most tokens of an answer, where the call has no `max_tokens`.
        """
        task = call.task(kind="complete", system=final, whole=True)
        model = call.model_for(task)
        window = model.window
        if task.max_tokens is None:
            limit = answer if window is None else min(answer, window // 4)
            task = replace(task, max_tokens=max(limit, 1))
        room = most or sys.maxsize
        if window is not None:
            # A sixteenth is for the chat template, and for tokens that joining pieces adds.
            taken = window // 16 + FRAME + max(model.count_tokens([final, partial]))
            room = min(room, window - taken - (task.max_tokens or 0))
        if room < LEAST:
            msg = (
                f"model {model.name!r} reads {window} tokens; the instruction and "
                f"max_tokens := {task.max_tokens} leave room for {max(room, 0)} tokens of text"
            )
            raise CallError(msg, hint="lower `max_tokens`, or shorten the instruction")
        part = room if most else max(room // 4, min(room, SMALL))
        # At least four answers fit in a prompt, so that every level has fewer prompts.
        about = replace(
            task,
            system=partial,
            max_tokens=min(call.whole("max_tokens") or ANSWER, part // 4 - LINE),
        )
        return cls(task, about, room, part, rows, answers)


def numbered(heading: str) -> Layout:
    """A layout: the heading, then a line for each piece.

    Example:
        >>> numbered("Rows:")(["a", "b"])
        'Rows:\\n1. a\\n2. b'
    """

    def layout(pieces: Sequence[str]) -> str:
        return "\n".join([heading, *(f"{i}. {piece}" for i, piece in enumerate(pieces, 1))])

    return layout


def prompts(
    call: Call, rows: Sequence[Sequence[str]], keys: Sequence[str | None], reduction: Reduction
) -> list[str | None]:
    """One prompt per row for `reduction.final`, once the prompts before it are answered.

    Args:
        call: On whose behalf.
        rows: The pieces of each row, in order; none for NULL.
        keys: By what `call.failures` knows each row.
        reduction: How they become one.

    Returns:
        NULL where a row has no pieces, or where a part of it failed under `on_error = 'null'`.
    """
    found = _packed(call, rows, reduction, reduction.rows, reduction.part)
    while several := [row for row, made in enumerate(found) if len(made) > 1]:
        asked = pa.array([text for row in several for text in found[row]], pa.string())
        answered = iter(call.run_part(reduction.partial, asked).to_pylist())
        parts = [list(islice(answered, len(found[row]))) for row in several]
        whole = [[] if None in answers else answers for answers in parts]
        packed = _packed(call, whole, reduction, reduction.answers, reduction.room)
        for row, made in zip(several, packed, strict=True):
            if len(made) >= len(found[row]):
                msg = f"the answers about {len(made)} parts are too long to be combined"
                call.fail(reduction.final, found[row][0], BadAnswer(msg))
                made = []
            if not made:
                blame(call, keys[row], found[row])
            found[row] = made
    return [made[0] if made else None for made in found]


def blame(call: Call, key: str | None, prompts: Sequence[str | None]) -> None:
    """Say of a row why it has no answer: the reason of the first of its prompts that has none."""
    for text in prompts:
        if text is not None and text in call.failures and key is not None:
            call.failures.setdefault(key, call.failures[text])


def _packed(
    call: Call, rows: Sequence[Sequence[str]], reduction: Reduction, layout: Layout, most: int
) -> list[list[str]]:
    """The prompts of each row: one if it has room, else of at most `most` tokens."""
    count = call.model_for(reduction.final).count_tokens
    # A token is a byte at least: what is short need not be counted.
    short = [sum(len(p.encode()) + LINE for p in pieces) <= reduction.room for pieces in rows]
    long = [piece for pieces, fits in zip(rows, short, strict=True) if not fits for piece in pieces]
    counted = iter(count(long) if long else ())
    made = []
    for pieces, fits in zip(rows, short, strict=True):
        sizes = [0] * len(pieces) if fits else list(islice(counted, len(pieces)))
        if fits or sum(sizes) + LINE * len(sizes) <= reduction.room:
            made.append([layout(pieces)] if pieces else [])
        else:
            groups = _groups(zip(pieces, sizes, strict=True), most, count)
            made.append([layout(group) for group in groups])
    return made


def _groups(sized: Iterable[tuple[str, int]], room: int, count: Count) -> Iterator[list[str]]:
    """As many pieces as fit, one after the other: a row at the end changes the last prompt only."""
    group: list[str] = []
    free = room
    for piece, size in sized:
        for part, tokens in _fitting(piece, size, room, count):
            if group and tokens + LINE > free:
                yield group
                group, free = [], room
            group.append(part)
            free -= tokens + LINE
    yield group


def _fitting(piece: str, size: int, room: int, count: Count) -> list[tuple[str, int]]:
    """A piece with its tokens, or its parts with theirs if it is too long for a prompt."""
    if size + LINE <= room:
        return [(piece, size)]
    parts = split(piece, room - LINE - PART, count)
    named = [f"(part {i} of {len(parts)}) {part.strip()}" for i, part in enumerate(parts, 1)]
    return list(zip(named, count(named), strict=True))
