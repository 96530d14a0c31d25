"""Inputs become the tokens that a language model reads, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlllm.engine.batching import ahead, windows
from sqlllm.engine.kept import begin, room_for
from sqlllm.engine.prefixes import Group, blocks, groups, shared
from sqlllm.engine.prompt import Prompt, encode_all
from sqlllm.errors import InputTooLong, ModelError, SqlllmError, excerpt

if TYPE_CHECKING:
    from sqlllm.engine.engine import Engine
    from sqlllm.engine.kept import Begun, KeptTexts
    from sqlllm.models.base import Model
    from sqlllm.task import Task

GROUPED = 4
"""Passes of beginnings that groups of rows share, kept at a time while those rows are read."""

WORTH = 8
"""Tokens that groups must save, in `Engine.ridge`: to read beginnings is a pass more."""


@dataclass(slots=True)
class Part:
    """Rows as tokens.

    Attributes:
        head: What all begin with.
        bodies: Each row's own tokens.
        errors: The rows that are too long.
        groups: Rows that begin alike, whose beginnings are read first.
        begun: The rows whose beginnings have been read.
    """

    head: tuple[int, ...]
    bodies: dict[int, list[int]]
    errors: dict[int, SqlllmError] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    begun: dict[int, Begun] = field(default_factory=dict)

    def lengths(self) -> dict[int, int]:
        """Row -> tokens to read; four that are there count as one, for the memory they take."""
        found = {row: len(body) for row, body in self.bodies.items()}
        for row, begun in self.begun.items():
            found[row] -= begun.length - begun.length // 4
        return found


@dataclass(frozen=True, slots=True)
class Room:
    """How long a text may be.

    Attributes:
        tokens: The most of a text.
        model: The model's name, for the error.
        truncate: Whether a longer one is cut.
    """

    tokens: int
    model: str
    truncate: bool

    @classmethod
    def of(cls, task: Task, model: Model, prompt: Prompt, most: Callable[[int], int]) -> Room:
        """What a model's window leaves beside the question; `most` keeps room for the answer.

        Raises:
            InputTooLong: Nothing: cut to that, all texts would have one answer.
        """
        assert model.window is not None
        around = len(prompt.head) + len(prompt.tail)
        free = most(model.window - around)
        if free < 1:
            msg = (
                f"model {model.name!r} reads {model.window} tokens: {around} of the question and "
                f"the room for an answer leave none for a text"
            )
            other = "have fewer labels" if task.labels else "lower `max_tokens`"
            raise InputTooLong(msg, hint=f"shorten the question, or {other}")
        return cls(free, model.name, task.truncate)


def read(
    tokenizer: Any,
    inputs: Sequence[str],
    prompt: Prompt,
    room: Room,
    engine: Engine | None,
    kept: KeptTexts | None,
) -> Iterator[Part]:
    """The rows, part by part, the next part's tokens made by another thread.

    What rows begin with is read first; parts without rows then come in between.

    Args:
        tokenizer: The model's.
        inputs: The texts.
        prompt: What stands around each.
        room: How long they may be.
        engine: Reads what groups of rows begin with once; None: each row is read whole.
        kept: Where texts are read once for several questions; None: each is read with its question.
    """

    def tokens_of(rows: list[int]) -> Part:
        part = Part(prompt.head, {})
        each = encode_all(tokenizer, [inputs[row] for row in rows])
        for row, tokens in zip(rows, each, strict=True):
            if not (tokens or prompt.tail):
                msg = "the text is empty, and the model's chat template puts nothing behind it"
                part.errors[row] = ModelError(msg)
            elif len(tokens) <= room.tokens or room.truncate:
                part.bodies[row] = tokens[: room.tokens]
            else:
                part.errors[row] = InputTooLong(
                    f"the text {excerpt(inputs[row])} has {len(tokens)} tokens; "
                    f"model {room.model!r} has room for {room.tokens} here",
                    hint="add `truncate := true` to read only its beginning",
                )
        if kept is None:
            whole = {row: [*text, *prompt.tail] for row, text in part.bodies.items()}
            part.head, part.bodies = shared(prompt.head, whole)
            found = groups(part.bodies) if engine else []
            if engine and sum(group.saved for group in found) >= WORTH * engine.ridge:
                part.groups = found
        return part

    for part in ahead(tokens_of, windows(inputs, by_text=engine is not None)):
        if kept is not None:
            yield from _begun(part, prompt, kept)
            yield part
        elif engine and part.groups:
            yield from _grouped(part, engine)
        else:
            yield part


def _begun(part: Part, prompt: Prompt, kept: KeptTexts) -> Iterator[Part]:
    """Read the texts, or find them read: a part without rows after every forward pass."""
    for made in kept.begin(part.head, part.bodies):
        yield Part(made.head, {})
    same = len(made.head) - len(part.head)
    part.bodies = {row: [*text[same:], *prompt.tail] for row, text in part.bodies.items()}
    part.head, part.begun = made.head, made.begun


def _grouped(part: Part, engine: Engine) -> Iterator[Part]:
    """The part in smaller ones, each behind what its groups begin with, as far as there is room."""
    room = room_for(engine, GROUPED)
    fitting = [group for group in part.groups if len(group.prefix) <= room]
    grouped = {row for group in fitting for row in group.rows}
    rows = [row for row in part.bodies if row not in grouped]
    errors = part.errors
    for block in blocks(fitting, room) if fitting else [[]]:
        begun: dict[int, Begun] = {}
        beginnings = {i: group.prefix for i, group in enumerate(block)}
        for found in begin(engine, part.head, beginnings, 2 * room):
            begun |= {row: it for i, it in found.items() for row in block[i].rows}
            yield Part(part.head, {})
        rows += [row for group in block for row in group.rows]
        bodies = {row: part.bodies[row] for row in rows}
        yield Part(part.head, bodies, errors, begun=begun)
        begun.clear()  # whoever asks for the next part still holds this one
        rows, errors = [], {}
