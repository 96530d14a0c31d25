"""Causal language models on transformers: complete, and choose by scoring the labels."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.engine.batching import by_tokens
from sqlllm.engine.device import device, precision, weights_digest
from sqlllm.engine.prompt import Prompt, answers, choice_prompt, completion_prompt, encode
from sqlllm.errors import InputTooLong, ModelMissing, SqlllmError, excerpt
from sqlllm.models.base import Batch, Model

if TYPE_CHECKING:
    from sqlllm.engine.scoring import LabelTrie
    from sqlllm.task import Task

MAX_TOKENS = 256  # of a completion, unless the call says otherwise
CONTENT_FREE = "N/A"  # the text whose answer shows which labels the model prefers anyway


class CausalModel(Model):
    """A language model from a local folder, with safetensors weights and no remote code.

    `choose` is a forward pass, not text. A label's score is the mean log-probability of its
    tokens as the answer, less the same for the text "N/A", which takes out the model's
    preference for some labels (contextual calibration, Zhao et al., arXiv 2102.09690); the
    probabilities are the softmax of the scores.

    Args:
        folder: A folder that transformers can load.
        dtype: `float32` or `bfloat16`; None: bfloat16 where the hardware multiplies it natively.
        place: What the user called the folder, for the message if it is not there.
    """

    about: ClassVar[str] = "language model on torch: text; labels and yes/no by scoring"

    def __init__(
        self, folder: str | Path, *, dtype: str | None = None, place: str | None = None
    ) -> None:
        path = Path(folder)
        if not (path / "config.json").is_file():
            place = place or str(folder)
            msg = f"model 'hf:{place}' is not on this machine"
            raise ModelMissing(msg, hint=f"run `sqlllm pull hf:{place}`, or name a local folder")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from sqlllm.engine.prefix import Prefixes, shareable

        where = device()
        dtype = dtype or precision(where)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
        )
        self._model.to(where).eval()
        self._lock = threading.Lock()  # one batch at a time: torch uses all cores for each
        self._prefixes = Prefixes(self._model)
        self._shareable = shareable(self._model.config)
        self._ends = _ids(self._model.generation_config.eos_token_id)
        self._budget = 65536 if where == "cuda" else 4096  # padded tokens per batch
        self.window: int = self._model.config.max_position_embeddings
        self.fingerprint = f"causal:{weights_digest(path)}:{dtype}"

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Greedy text, or sampled with a seed per row when `task.temperature` is above 0."""
        from sqlllm.engine.decoding import decode, generator

        room = task.max_tokens or MAX_TOKENS
        prompt = completion_prompt(self._tokenizer, task.system)
        bodies, errors = self._bodies(task, inputs, prompt, room)
        if errors:
            yield Batch([], [], errors)
        head, bodies = self._shared(prompt, bodies)
        for rows in by_tokens({row: len(b) + room for row, b in bodies.items()}, self._budget):
            with self._lock, _inference():
                written = decode(
                    self._model,
                    self._prefixes,
                    head,
                    [bodies[row] for row in rows],
                    max_tokens=room,
                    ends=self._ends,
                    stopped=lambda tokens: self._stopped(task, tokens),
                    temperature=task.temperature,
                    draws=[generator(task.seed, inputs[row]) for row in rows],
                )
            yield Batch(
                rows,
                [_cut(self._text(tokens), task) for tokens in written],
                prompt_tokens=sum(len(head) + len(bodies[row]) for row in rows),
                completion_tokens=sum(len(tokens) for tokens in written),
            )

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Softmax over the labels' calibrated scores."""
        from sqlllm.engine.scoring import LabelTrie

        labels = [encode(self._tokenizer, answer) for answer in answers(task)]
        trie = LabelTrie.build(labels)
        prompt = choice_prompt(self._tokenizer, task)
        bodies, errors = self._bodies(task, inputs, prompt, max(map(len, labels)))
        if errors:
            import numpy as np

            yield Batch([], np.zeros((0, len(labels)), np.float32), errors)
        head, bodies = self._shared(prompt, bodies)
        if not bodies:
            return
        _, neutral = self._shared(prompt, {0: self._body(prompt, CONTENT_FREE)})
        bias = self._score(head, [neutral[0]], trie)
        sizes = {row: len(body) + len(trie.tokens) for row, body in bodies.items()}
        for rows in by_tokens(sizes, self._budget):
            scores = self._score(head, [bodies[row] for row in rows], trie) - bias
            yield Batch(
                rows,
                scores.softmax(-1).cpu().numpy(),
                prompt_tokens=sum(len(head) + len(bodies[row]) for row in rows),
            )

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(encode(self._tokenizer, text)) for text in inputs]

    def _body(self, prompt: Prompt, text: str) -> list[int]:
        return [*encode(self._tokenizer, text), *prompt.tail]

    def _bodies(
        self, task: Task, inputs: Sequence[str], prompt: Prompt, room: int
    ) -> tuple[dict[int, list[int]], dict[int, SqlllmError]]:
        """Each row's own tokens, and the rows that are too long."""
        free = max(self.window - len(prompt.head) - len(prompt.tail) - room, 0)
        bodies: dict[int, list[int]] = {}
        errors: dict[int, SqlllmError] = {}
        for row, text in enumerate(inputs):
            tokens = encode(self._tokenizer, text)
            if len(tokens) <= free or task.truncate:
                bodies[row] = [*tokens[:free], *prompt.tail]
            else:
                errors[row] = InputTooLong(
                    f"the text {excerpt(text)} has {len(tokens)} tokens; "
                    f"model {self.name!r} has room for {free} here",
                    hint="add `truncate := true` to read only its beginning",
                )
        return bodies, errors

    def _shared(
        self, prompt: Prompt, bodies: dict[int, list[int]]
    ) -> tuple[tuple[int, ...], dict[int, list[int]]]:
        """The head by itself where it can be computed once, else in front of every row."""
        if self._shareable:
            return prompt.head, bodies
        return (), {row: [*prompt.head, *body] for row, body in bodies.items()}

    def _score(
        self, head: tuple[int, ...], bodies: Sequence[Sequence[int]], trie: LabelTrie
    ) -> Any:
        from sqlllm.engine.scoring import score, score_apart

        with self._lock, _inference():
            if self._shareable:
                return score(self._model, self._prefixes, head, bodies, trie)
            return score_apart(self._model, bodies, trie)

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _stopped(self, task: Task, tokens: list[int]) -> bool:
        return bool(task.stop) and any(stop in self._text(tokens) for stop in task.stop)


def _inference() -> Any:
    import torch

    return torch.inference_mode()


def _cut(text: str, task: Task) -> str:
    """The text up to the first stop string."""
    ends = [at for stop in task.stop if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def _ids(value: int | list[int] | None) -> frozenset[int]:
    return frozenset([value] if isinstance(value, int) else value or ())
