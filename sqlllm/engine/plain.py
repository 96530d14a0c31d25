"""Models that `Engine` can't run: transformers' own forward pass and `generate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlllm.engine.device import no_numbers
from sqlllm.engine.engine import TOKENS
from sqlllm.engine.memory import Budget, no_room, ran_out
from sqlllm.engine.trial import TRIED
from sqlllm.engine.worker import stepped

if TYPE_CHECKING:
    from sqlllm.engine.decoding import Row
    from sqlllm.engine.picking import Picker
    from sqlllm.engine.scoring import LabelTrie


class Plain:
    """As `Engine`, for any causal language model: no shared prefix, whole prompts every time.

    Rows of one batch have the same length: padding isn't harmless in every architecture.

    Args:
        model: A causal language model on its device, in evaluation mode.
    """

    texts: None = None  # none are kept
    most_positions: None = None  # as many as the model has
    at_once = 1  # a model's own way may keep something between passes

    def __init__(self, model: Any) -> None:
        import torch
        from transformers import GenerationConfig

        self.model = model
        # `generate` takes from it what a call doesn't say: beams, words that may not come again.
        model.generation_config = GenerationConfig()
        self.budget = Budget(TOKENS.get(model.device.type, 4096), 64)
        with torch.inference_mode():
            some = (
                torch.arange(TRIED, device=model.device)[None]
                % model.config.get_text_config().vocab_size
            )
            if not bool(model(input_ids=some, use_cache=False).logits.isfinite().all()):
                raise no_numbers(model.dtype)

    def score(
        self,
        head: tuple[int, ...],
        bodies: Sequence[Sequence[int]],
        trie: LabelTrie,
        begun: Sequence[object] = (),
    ) -> Any:
        """Mean log-probability of each label's tokens: each label in a row of its own."""
        import torch

        labels = [[token for _, token in path] for path in trie.paths]
        scores = torch.zeros(len(bodies), len(labels))
        pairs = [
            ([*head, *body, *label], i, j)
            for i, body in enumerate(bodies)
            for j, label in enumerate(labels)
        ]
        pairs.sort(key=_tokens, reverse=True)
        for length, group in groupby(pairs, _tokens):
            alike, size = list(group), max(self.budget.tokens // length, 1)
            for part in (alike[i : i + size] for i in range(0, len(alike), size)):
                ids = torch.tensor([tokens for tokens, _, _ in part], device=self.model.device)
                with torch.inference_mode():
                    logits = self.model(input_ids=ids, use_cache=False).logits
                for row, (tokens, i, j) in zip(logits, part, strict=True):
                    count = len(labels[j])
                    odds = row[-count - 1 : -1].float().log_softmax(-1)
                    picked = odds.gather(-1, ids.new_tensor(tokens[-count:])[:, None])
                    scores[i, j] = picked.mean()
        return scores

    def write(
        self, head: tuple[int, ...], rows: Iterable[Row], picker: Picker
    ) -> Iterator[list[Row]]:
        """Write rows to their end, a batch at a time; one that has no room goes on in parts."""
        return stepped(self._steps(head, list(rows), picker))

    def _steps(self, head: tuple[int, ...], left: list[Row], picker: Picker) -> Iterator[list[Row]]:
        while left:
            longest = max(len(row.tokens) for row in left)
            alike = [row for row in left if len(row.tokens) == longest]
            most = len(head) + max(row.most for row in alike)
            part = alike[: max(min(self.budget.tokens // most, self.budget.rows), 1)]
            try:
                self._generate(head, part, picker)
            except Exception as error:
                if not ran_out(error):
                    raise
                if len(part) == 1:
                    raise no_room(len(head) + longest, error) from error
                self.budget.halve(tokens=len(part) * most, rows=len(part))
            else:
                for row in part:
                    row.done = True
            done, left = [row for row in left if row.done], [row for row in left if not row.done]
            yield done

    def _generate(self, head: tuple[int, ...], part: list[Row], picker: Picker) -> None:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        ids = torch.tensor([[*head, *row.tokens] for row in part], device=self.model.device)
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(row.most - len(row.tokens) for row in part),
            eos_token_id=sorted(picker.ends),
            pad_token_id=min(picker.ends, default=0),
        )
        with torch.inference_mode():
            self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                logits_processor=LogitsProcessorList([_Chosen(part, picker)]),
            )


class _Chosen:
    """A logits processor that leaves `generate` the token that the picker wrote."""

    def __init__(self, rows: list[Row], picker: Picker) -> None:
        self._rows = rows
        self._picker = picker
        self._told = [len(row.tokens) for row in rows]  # how many tokens `generate` knows

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        live = [
            i
            for i, row in enumerate(self._rows)
            if not row.done and self._told[i] == len(row.tokens)
        ]
        if live:
            rows = [self._rows[i] for i in live]
            self._picker.write(rows, [[] for _ in rows], scores[live], range(len(rows)))
        chosen = scores.new_full(scores.shape, float("-inf"))
        for i, row in enumerate(self._rows):
            more = self._told[i] < len(row.tokens)
            chosen[i, row.tokens[self._told[i]] if more else min(self._picker.ends, default=0)] = 0
            self._told[i] += more
        return chosen


def _tokens(pair: tuple[list[int], int, int]) -> int:
    return len(pair[0])
