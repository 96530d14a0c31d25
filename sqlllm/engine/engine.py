"""A causal language model that runs packed steps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlllm.engine import steps
from sqlllm.engine.attention import Step
from sqlllm.engine.decoding import Row, decode
from sqlllm.engine.kept import Begun, KeptTexts
from sqlllm.engine.linear import filled, rounded
from sqlllm.engine.memory import Budget, rows_that_fit
from sqlllm.engine.picking import Picker
from sqlllm.engine.positions import most_positions, rotations
from sqlllm.engine.scoring import LabelTrie, score
from sqlllm.engine.slots import Slots
from sqlllm.engine.steps import Wanted
from sqlllm.engine.trial import tried
from sqlllm.engine.worker import sides
from sqlllm.locks import own_lock

TOKENS = {"cpu": 2048, "mps": 8192, "cuda": 32768}
"""New tokens of a forward pass: on two Zen 4 cores 1,500 to 3,000 stay in the caches; a GPU takes
what fills it."""

ROWS = {"cpu": 256, "mps": 256, "cuda": 1024}
"""Rows that are written at once, where memory allows: from here on a step is compute-bound."""

LONGEST = 2048  # tokens of a single row that are read in one pass

RIDGE = {"cpu": 16, "mps": 64, "cuda": 256}
"""New tokens up to which a forward pass costs little more than one: it reads the weights."""


class Engine:
    """Runs a model from transformers with this package's attention.

    The model's own code does everything but attention. Whether that gives the same numbers is
    tried once, on a few tokens: a model for which it doesn't, or that can't be run like this,
    raises `Unsuitable` and is left as it was. Only the models' threads run it: see `worker`.

    Args:
        model: A causal language model on its device, in evaluation mode.
        in_int8: Change its linear layers to int8, for good.

    Attributes:
        budget: How much goes into one forward pass.
        ridge: New tokens up to which a pass costs little more than one.
        at_once: How many passes run side by side.
        narrowed: Whether the last layer is run for wanted tokens only.
        windows: Those that layers have named so far.
        texts: What is kept of texts between questions.
        token_bytes: Of the keys and values of one token.
    """

    def __init__(self, model: Any, *, in_int8: bool = False) -> None:
        self.model = model
        self.device: str = model.device.type
        self.place = str(model.device)  # which of several, for its memory
        self.budget = Budget(TOKENS.get(self.device, 4096), ROWS.get(self.device, 256))
        self.ridge = RIDGE.get(self.device, 32)
        self.at_once = 1 if rotations(model, "dynamic", "longrope") else sides(self.device)
        self.most_positions = most_positions(model)
        self.windows: set[int] = set()
        self.narrowed = False
        self._base = model.base_model
        self._head = model.get_output_embeddings()
        config = model.config.get_text_config()
        self._softcap: float | None = getattr(config, "final_logit_softcapping", None)  # Gemma 2
        self._scale: float = getattr(config, "logit_scale", None) or 1.0  # Cohere
        self._scale /= getattr(config, "logits_scaling", None) or 1.0  # Granite
        self._prefixes: OrderedDict[tuple[int, ...], Slots] = OrderedDict()
        self._reading = own_lock()  # a prefix is read once, whoever needs it
        self.texts = KeptTexts(self)
        self.token_bytes = tried(self, in_int8=in_int8)

    def score(
        self,
        head: tuple[int, ...],
        bodies: Sequence[Sequence[int]],
        trie: LabelTrie,
        begun: Sequence[Begun | None] = (),
    ) -> Any:
        """Mean log-probability of each label's tokens, (rows, labels); see `scoring`."""
        return score(self, head, bodies, trie, begun)

    def write(
        self, head: tuple[int, ...], rows: Iterable[Row], picker: Picker
    ) -> Iterator[list[Row]]:
        """Write rows to their end, those that finish as they do; see `decoding`."""
        return decode(self, head, rows, picker)

    def prefix(self, tokens: tuple[int, ...]) -> Slots | None:
        """Keys and values of what all rows of a task begin with; the latest few are kept."""
        if not tokens:
            return None
        with self._reading:
            found = self._prefixes.get(tokens)
            if found is None:
                found = Slots(1, len(tokens))
                self.read(found, 0, [tokens], [0], wanted="none")
            self._prefixes[tokens] = found
            self._prefixes.move_to_end(tokens)
            while len(self._prefixes) > 4:
                self._prefixes.popitem(last=False)
            return found

    def read(
        self,
        slots: Slots,
        first: int,
        new: Sequence[Sequence[int]],
        kept: Sequence[int],
        head: tuple[int, ...] = (),
        *,
        wanted: Wanted = "all",
    ) -> Any:
        """Hidden states of rows' new tokens, packed: (T, size); (B, size) or (0, size) as `wanted`.

        Args:
            slots: Where keys and values go.
            first: The slot of the first row; the others follow.
            new: The new tokens of each row.
            kept: How many tokens of each row are there already.
            head: What all rows begin with.
            wanted: Of which tokens: all, the last of each row, or none. The others stop in
                the last layer, where their keys are kept.
        """
        if len(new) == 1 and len(new[0]) > LONGEST:
            return self._read_long(slots, first, new[0], kept[0], head, wanted)
        ids, step = steps.causal(
            slots,
            first,
            new,
            kept,
            prefix=self.prefix(head),
            device=self.model.device,
            wanted=wanted,
        )
        return self._forward(ids, step)

    def _read_long(
        self,
        slots: Slots,
        first: int,
        tokens: Sequence[int],
        kept: int,
        head: tuple[int, ...],
        wanted: Wanted,
    ) -> Any:
        """In parts: the mask of one pass grows with the square of its tokens."""
        import torch

        slots.passing = False  # a part is read behind the keys of those before it
        parts = []
        for at in range(0, len(tokens), LONGEST):
            part = tokens[at : at + LONGEST]
            asked = "none" if wanted == "last" and at + LONGEST < len(tokens) else wanted
            parts.append(self.read(slots, first, [part], [kept + at], head, wanted=asked))
        return torch.cat(parts)

    def read_tree(
        self,
        slots: Slots,
        nodes: Sequence[int],
        above: Any,
        kept: Sequence[int],
        head: tuple[int, ...] = (),
    ) -> Any:
        """Hidden states of a tree of tokens behind each row: (rows, nodes, size)."""
        ids, step = steps.tree(
            slots,
            nodes,
            above,
            kept,
            prefix=self.prefix(head),
            device=self.model.device,
        )
        return self._forward(ids, step).unflatten(0, (len(kept), len(nodes)))

    def logits(self, hidden: Any) -> Any:
        """Over the whole vocabulary, in the model's precision."""
        import torch

        with torch.inference_mode():
            run = rounded(len(hidden), self.device)
            return self._final(self._head(filled(hidden[None], run))[0, : len(hidden)])

    def label_logits(self, hidden: Any, tokens: Sequence[int]) -> Any:
        """Of some tokens only, in float32: bfloat16 logits are multiples of 1/8 and tie."""
        import torch

        with torch.inference_mode():
            rows = self._head.weight[list(tokens)].float()
            logits = hidden.float() @ rows.T
            bias = getattr(self._head, "bias", None)
            return self._final(logits if bias is None else logits + bias[list(tokens)].float())

    def rows_for(self, capacity: int) -> int:
        """How many rows of `capacity` tokens of their own to hold at once."""
        return rows_that_fit(capacity * self.token_bytes, self.place, self.budget.rows)

    def let_go(self, head: tuple[int, ...] = ()) -> bool:
        """Drop what can be read again: texts, and what other tasks begin with; whether any was."""
        with self._reading:
            others = [tokens for tokens in self._prefixes if tokens != head]
            for tokens in others:
                del self._prefixes[tokens]
        return self.texts.clear() or bool(others)

    def _forward(self, ids: Any, step: Step) -> Any:
        import torch

        run = rounded(len(ids), self.device)
        with torch.inference_mode():
            out = self._base(
                input_ids=filled(ids[None], run),
                position_ids=filled(step.positions()[None], run),
                use_cache=False,
                sqlllm_step=step,
            )
        self.windows |= step.windows
        hidden = out[0][0]
        if step.wanted is None:
            return hidden[: len(ids)]
        return hidden[: len(step.wanted)] if self.narrowed else hidden[step.wanted]

    def _final(self, logits: Any) -> Any:
        """What some models do to their logits."""
        if self._scale != 1:
            logits = logits * self._scale
        cap = self._softcap
        return logits if not cap else cap * (logits / cap).tanh()
