"""Guessing what comes next from what was there before (prompt lookup decoding)."""

from __future__ import annotations

from sqlllm.engine.prefixes import agreeing

LONGEST, SHORTEST = 3, 2  # tokens that must agree
MOST = 16  # tokens guessed at once


class Lookup:
    """Copies what followed the latest tokens where they occurred before.

    Answers that repeat their text (extraction, correction) are then confirmed several tokens a
    pass. The guess is longer after a good one and shorter after a bad one (prompt lookup:
    github.com/apoorvumang/prompt-lookup-decoding).

    Example:
        >>> Lookup().guess([1, 2, 3, 4, 5, 9, 2, 3], most=2)
        [4, 5]
    """

    def __init__(self) -> None:
        self._length = 4
        self._text = ""  # a character per token: str.rfind is the fast search
        self._guessed: list[int] = []

    def guess(self, tokens: list[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow."""
        self._learn(tokens)
        self._text += "".join(map(chr, tokens[len(self._text) :]))
        end = len(self._text)
        for size in range(LONGEST, SHORTEST - 1, -1):
            at = self._text.rfind(self._text[end - size :], 0, end - 1) if end > size else -1
            if at >= 0:
                after = at + size
                self._guessed = tokens[after : after + min(most, self._length)]
                return self._guessed
        self._guessed = []
        return []

    def _learn(self, tokens: list[int]) -> None:
        """From how much of the last guess came true."""
        if not self._guessed:
            return
        right = agreeing(self._guessed, tokens[len(self._text) :])
        self._length = min(2 * self._length, MOST) if right == len(self._guessed) else max(right, 1)
