"""Choosing tokens: greedy or sampled, within a grammar, until a row is done."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlllm.engine.prefixes import agreeing

if TYPE_CHECKING:
    from sqlllm.engine.decoding import Row
    from sqlllm.engine.grammar import Grammar

COLDEST, HOTTEST = 1e-30, 1e30
"""Temperatures between which logits divided by them are numbers; beyond, nothing would differ."""


class Picker:
    """Writes the tokens that a forward pass makes probable.

    Args:
        ends: Tokens that end an answer; they are not part of it.
        stopped: Whether an answer so far holds a stop string.
        temperature: 0 is greedy; above, each row draws with `Row.draws`.
        top_p: Tokens beyond this much probability are never drawn (nucleus sampling,
            arXiv 1904.09751).
        grammar: What `Row.rule` comes from, or None.
    """

    def __init__(
        self,
        ends: frozenset[int],
        *,
        stopped: Callable[[list[int]], bool] | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        grammar: Grammar | None = None,
    ) -> None:
        self.ends = ends
        self.stopped = stopped
        self.temperature = min(max(temperature, COLDEST), HOTTEST) if temperature else 0.0
        self.top_p = top_p
        self.grammar = grammar

    def opened(self, row: Row) -> Row:
        """The row, with what its grammar leaves no choice about at the beginning."""
        if row.rule is not None:
            row.tokens += row.rule.forced(row.most - len(row.tokens) - 1)
        return row

    def write(
        self, rows: Sequence[Row], drafts: Sequence[list[int]], logits: Any, starts: Sequence[int]
    ) -> None:
        """Append tokens to rows; what agrees with a row's draft is followed further.

        Args:
            rows: Each gets at least one token, or is done.
            drafts: What was read behind each row's own tokens.
            logits: After the last own token and each draft token of every row, packed.
            starts: Where in `logits` each row begins.
        """
        lengths = [len(row.tokens) for row in rows]
        live = list(range(len(rows)))
        # With nothing else to ask about, drafts are followed without waiting for a device again.
        best = None if self.grammar or self.temperature else logits.argmax(-1).tolist()
        while live:
            places = [starts[i] + len(rows[i].tokens) - lengths[i] for i in live]
            if best is not None:
                chosen = [best[place] for place in places]
            else:
                chosen = self._pick([rows[i] for i in live], logits[places])
            for i, token in zip(live, chosen, strict=True):
                self._append(rows[i], token)
            live = [i for i in live if self._goes_on(rows[i], lengths[i], drafts[i])]
        for row, length, draft in zip(rows, lengths, drafts, strict=True):
            row.kept = length + agreeing(row.tokens[length:], draft)

    def _goes_on(self, row: Row, length: int, draft: list[int]) -> bool:
        written = row.tokens[length:]
        return not row.done and written == draft[: len(written)]

    def _pick(self, rows: Sequence[Row], logits: Any) -> list[int]:
        import torch

        if self.grammar is not None:
            logits = self.grammar.allowed([row.rule for row in rows], logits)
        if not self.temperature:
            tokens: list[int] = logits.argmax(-1).tolist()
            return tokens
        odds = (logits.float() / self.temperature).softmax(-1)
        if self.top_p < 1:
            odds = _nucleus(odds, self.top_p)
        odds = odds.cpu()  # where the generators are
        return [
            int(torch.multinomial(o, 1, generator=row.draws))
            for o, row in zip(odds, rows, strict=True)
        ]

    def _append(self, row: Row, token: int) -> None:
        """A token, and what the grammar leaves no choice about after it."""
        if token in self.ends or (row.rule is not None and row.rule.problem):
            row.done = True
            return
        row.tokens.append(token)
        if row.rule is not None:
            row.rule.take(token)
            row.tokens += row.rule.forced(row.most - len(row.tokens))
            row.done = row.rule.complete
        row.done |= len(row.tokens) >= row.most
        if self.stopped is not None and self.stopped(row.written):
            row.done = True


def _nucleus(odds: Any, top_p: float) -> Any:
    """The most probable tokens that together have `top_p`, at least one."""
    ordered, order = odds.sort(-1, descending=True)
    beyond = ordered.cumsum(-1) - ordered >= top_p
    return odds.masked_fill(beyond.scatter(-1, order, beyond), 0)


def generator(seed: int, text: str) -> Any:
    """Random numbers decided by the seed and the row alone, whatever the batch."""
    import torch

    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
