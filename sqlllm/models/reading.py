"""Inputs become the tokens that a language model reads, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlllm.engine.batching import ahead, windows
from sqlllm.engine.prompt import Prompt, encode_all, shared
from sqlllm.engine.worker import stepped
from sqlllm.errors import InputTooLong, SqlllmError, excerpt

if TYPE_CHECKING:
    from sqlllm.engine.kept import Begun, KeptTexts


@dataclass(slots=True)
class Part:
    """Rows as tokens.

    Attributes:
        head: What all begin with.
        bodies: Each row's own tokens.
        errors: The rows that are too long.
        begun: The rows whose texts were read before.
    """

    head: tuple[int, ...]
    bodies: dict[int, list[int]]
    errors: dict[int, SqlllmError] = field(default_factory=dict)
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


def read(
    tokenizer: Any, inputs: Sequence[str], prompt: Prompt, room: Room, kept: KeptTexts | None
) -> Iterator[Part]:
    """The rows, part by part, the next part's tokens made by another thread.

    Args:
        tokenizer: The model's.
        inputs: The texts.
        prompt: What stands around each.
        room: How long they may be.
        kept: Where texts are read once for several questions; parts without rows then come in
            between. None: each is read with its question.
    """

    def tokens_of(rows: list[int]) -> Part:
        part = Part(prompt.head, {})
        found = encode_all(tokenizer, [inputs[row] for row in rows])
        for row, tokens in zip(rows, found, strict=True):
            if len(tokens) <= room.tokens or room.truncate:
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
        return part

    for part in ahead(tokens_of, windows(inputs)):
        if kept is not None:
            yield from _begun(part, prompt, kept)
        yield part


def _begun(part: Part, prompt: Prompt, kept: KeptTexts) -> Iterator[Part]:
    """Read the texts, or find them read: a part without rows after every forward pass."""
    for made in stepped(kept.begin(part.head, part.bodies)):
        yield Part(made.head, {})
    same = len(made.head) - len(part.head)
    part.bodies = {row: [*text[same:], *prompt.tail] for row, text in part.bodies.items()}
    part.head, part.begun = made.head, made.begun
