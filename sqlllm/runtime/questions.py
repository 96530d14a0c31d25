"""Calls about the same texts, and what it would save to read those once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Questions:
    """What one call asks about its texts.

    Attributes:
        about: Equal for calls that can read the same texts together; empty: there are none.
        tokens: Of the texts that would be sent.
        sent: How many they are.
        behind: Of each question, the tokens that would be read behind every text.
        text_first: Whether they are.
    """

    about: tuple[str, ...] = ()
    tokens: int = 0
    sent: int = 0
    behind: tuple[int, ...] = ()
    text_first: bool = False

    @classmethod
    def of(cls, step: str | None, cost: dict[str, Any]) -> Questions:
        """Of a call that is asked in that step, or alone; takes its own entries out of `cost`."""
        texts, behind, text_first = (cost.pop(name) for name in ("texts", "behind", "text_first"))
        sent = cost["distinct"] - cost["cached"]
        if step is None or not behind or not cost["tokens"]:
            return cls()
        return cls((step, cost["model"], texts), cost["tokens"], sent, tuple(behind), text_first)


def text_first_notes(calls: Sequence[Questions]) -> Iterator[str]:
    """For each call what to say of `text_first`, which is nothing but at the first about its texts.

    Example:
        >>> twice = [Questions(("t",), tokens=900, sent=10, behind=(20,))] * 2
        >>> list(text_first_notes(twice))
        ['text_first = true would read about 500 tokens less: 2 questions about the same texts', '']
    """
    told: set[tuple[str, ...]] = set()
    for call in calls:
        alike = [other for other in calls if call.about and other.about == call.about]
        count = sum(len(other.behind) for other in alike)
        first = call.about not in told
        told.add(call.about)
        yield _note(alike, count) if first and count > 1 else ""


def _note(alike: Sequence[Questions], count: int) -> str:
    apart = sum(len(call.behind) * call.tokens for call in alike)
    once = max(call.tokens for call in alike) + sum(call.sent * sum(call.behind) for call in alike)
    saved, about = apart - once, f"{count} questions about the same texts"
    if alike[0].text_first:
        word = "less" if saved >= 0 else "more"
        return f"text_first reads about {abs(saved):,} tokens {word}: {about}"
    return f"text_first = true would read about {saved:,} tokens less: {about}" if saved > 0 else ""
