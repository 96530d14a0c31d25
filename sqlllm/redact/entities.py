"""What can be found in a text, and a place where it was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlllm.errors import CallError, did_you_mean

RULES: Mapping[str, str] = {
    "url": "a URL with a secret in it: a password, a token, a key or a signature",
    "email": "an e-mail address",
    "iban": "an IBAN with its check digits",
    "card": "a payment card number: a known issuer and the Luhn digit",
    "national_id": "a number that a state gave a person, with its check digits",
    "ip": "an IP address, version 4 or 6",
    "date_of_birth": "a date beside a word such as born, DOB, Geburtsdatum, né le",
    "phone": "a phone number",
}
"""Found by rules, without a model: the default. Of two as long as each other the first wins."""

NAMES: Mapping[str, str] = {
    "person": "names of people",
    "place": "addresses, streets, cities and other places",
    "organisation": "names of companies, authorities and other organisations",
}
"""Found by a language model, where they are asked for; how the model is told of them."""

ENTITIES = (*RULES, *NAMES)

ALL = "all"
"""Stands for all of them in a list of entities."""


class Span(NamedTuple):
    """A place in a text, in characters: `text[start:end]`.

    Attributes:
        start: The first character.
        end: The one after the last.
        entity: Which of `ENTITIES`.
        value: The same for all spellings of it, such as a phone number in its international form.
    """

    start: int
    end: int
    entity: str
    value: str


Recogniser = Callable[[str], Iterable[Span]]
"""Finds one entity, or some, in a text that `readable` made."""


def parse_entities(names: Sequence[str]) -> tuple[str, ...]:
    """The entities of a call in the order of `ENTITIES`; none named means those found by rules.

    Example:
        >>> parse_entities(["person", "email"])
        ('email', 'person')
        >>> parse_entities(["emial"])
        Traceback (most recent call last):
            ...
        sqlllm.errors.CallError: there is no entity 'emial'
        Hint: did you mean `email`?
    """
    for name in names:
        if name not in (*ENTITIES, ALL):
            msg = f"there is no entity {name!r}"
            raise CallError(msg, hint=did_you_mean(name, (*ENTITIES, ALL)))
    if ALL in names:
        return ENTITIES
    return tuple(entity for entity in ENTITIES if entity in (names or RULES))


def apart(text: str, found: Iterable[Span]) -> list[Span]:
    """Spans that don't overlap, in the order of the text, which cover all that the given ones do.

    The longest wins, then the first of `ENTITIES`. What a loser has beyond the winner stays its
    own: nothing that was found is let go.

    Example:
        >>> apart("call 555-1234", [Span(5, 13, "phone", "5551234"), Span(9, 13, "card", "1234")])
        [Span(start=5, end=13, entity='phone', value='5551234')]
    """
    groups: list[list[Span]] = []
    end = -1
    for span in sorted(set(found)):
        if span.start >= end:
            groups.append([])
        groups[-1].append(span)
        end = max(end, span.end)
    return [span for group in groups for span in _settled(text, group)]


def _settled(text: str, group: list[Span]) -> list[Span]:
    """`apart` of spans that hang together."""
    kept: list[Span] = []
    for span in sorted(group, key=_rank):
        pieces = [(span.start, span.end)]
        for winner in kept:
            pieces = [piece for p in pieces for piece in _without(p, winner)]
        for start, end in pieces:
            if (start, end) == span[:2]:
                kept.append(span)
            elif any(char.isalnum() for char in text[start:end]):
                kept.append(Span(start, end, span.entity, text[start:end]))
    return sorted(kept)


def _rank(span: Span) -> tuple[int, int, int, str]:
    return (span.start - span.end, ENTITIES.index(span.entity), span.start, span.value)


def _without(piece: tuple[int, int], taken: Span) -> list[tuple[int, int]]:
    """What is left of a piece beside a span."""
    start, end = piece
    sides = [(start, min(end, taken.start)), (max(start, taken.end), end)]
    return [(a, b) for a, b in sides if a < b]
