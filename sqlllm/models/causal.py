"""Causal language models on transformers: complete, extract, and choose by scoring the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.engine.batching import ahead, windows
from sqlllm.engine.device import device, precision, weights_digest
from sqlllm.engine.memory import check_weights, halving
from sqlllm.engine.prompt import (
    Prompt,
    answers,
    choice_prompt,
    completion_prompt,
    encode,
    encode_all,
    extraction_prompt,
    form_of,
    shared,
)
from sqlllm.engine.worker import on_model_thread, stepped
from sqlllm.errors import InputTooLong, ModelMissing, SqlllmError, excerpt
from sqlllm.models.answers import complaint, longest, room, up_to_stop
from sqlllm.models.base import Batch, Model

if TYPE_CHECKING:
    from sqlllm.engine.decoding import Row
    from sqlllm.engine.grammar import Grammar
    from sqlllm.engine.picking import Picker
    from sqlllm.engine.scoring import LabelTrie
    from sqlllm.task import Task

CONTENT_FREE = "N/A"  # the text whose answer shows which labels the model prefers anyway

Read = tuple[tuple[int, ...], dict[int, list[int]], dict[int, SqlllmError]]
"""What all rows begin with, each row's own tokens, and the rows that are too long."""


class CausalModel(Model):
    """A language model from a local folder, with safetensors weights and no remote code.

    `choose` is a forward pass, not text. A label's score is the mean log-probability of its
    tokens as the answer, less the same for the text "N/A", which takes out the model's
    preference for some labels (contextual calibration, Zhao et al., arXiv 2102.09690); the
    probabilities are the softmax of the scores.

    Args:
        folder: A folder that transformers can load.
        dtype: `float32`, `bfloat16` or `float16`; None: bfloat16 where the hardware multiplies it
            natively.
        place: What the user called the folder, for the message if it is not there.
    """

    about: ClassVar[str] = "language model on torch: text, JSON; labels and yes/no by scoring"

    def __init__(
        self, folder: str | Path, *, dtype: str | None = None, place: str | None = None
    ) -> None:
        path = Path(folder)
        place = place or str(folder)
        if not (path / "config.json").is_file():
            msg = f"model 'hf:{place}' is not on this machine"
            raise ModelMissing(msg, hint=f"run `sqlllm pull hf:{place}`, or name a local folder")
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where = device()
        dtype = dtype or precision(where)
        check_weights(path, dtype, where, place)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=getattr(torch, dtype),
        )
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self._set(model.to(where), tokenizer, f"causal:{weights_digest(path)}:{dtype}")

    @classmethod
    def of(cls, model: Any, tokenizer: Any, fingerprint: str) -> CausalModel:
        """A model that is already in memory.

        Args:
            model: A causal language model of transformers, on its device. Its attention is
                replaced in place.
            tokenizer: Its fast tokenizer.
            fingerprint: Changes whenever the weights do.
        """
        made = cls.__new__(cls)
        made._set(model, tokenizer, fingerprint)
        return made

    def _set(self, model: Any, tokenizer: Any, fingerprint: str) -> None:
        from sqlllm.engine.engine import Engine, Unsuitable
        from sqlllm.engine.plain import Plain

        self._model = model.eval()
        self._tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.window: int = getattr(model.config, "max_position_embeddings", None) or 1 << 20
        self._ends = _ids(model.generation_config.eos_token_id) or _ids(tokenizer.eos_token_id)
        self._grammars: Any = None
        self._engine: Engine | Plain
        try:
            self._engine = Engine(self._model)
        except Unsuitable as reason:
            self._engine = Plain(self._model)
            self.note = f"runs by transformers' generate, without a shared prefix: it {reason}"

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Greedy text, or sampled with a seed per row when `task.temperature` is above 0."""
        form = [form_of(task)] if task.schema else []
        system = "\n\n".join([*([task.system] if task.system else []), *form])
        prompt = completion_prompt(self._tokenizer, system)
        grammar = None
        if task.schema or task.pattern:
            grammars = self._grammar()
            grammar = grammars.json(task.schema) if form else grammars.regex(task.pattern)
        return self._written(task, inputs, prompt, grammar)

    def extract(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """JSON that is valid against the schema; an answer that is cut off is an error."""
        prompt = extraction_prompt(self._tokenizer, task)
        return self._written(task, inputs, prompt, self._grammar().json(task.schema))

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Softmax over the labels' calibrated scores."""
        import numpy as np

        from sqlllm.engine.scoring import LabelTrie
        from sqlllm.models.labels import each_label

        if task.multi:
            yield from each_label(self.choose, task, inputs)
            return
        labels = [encode(self._tokenizer, answer) for answer in answers(task)]
        trie, most = LabelTrie.build(labels), max(map(len, labels))
        prompt = choice_prompt(self._tokenizer, task)
        budget = self._engine.budget
        neutral = [*encode(self._tokenizer, CONTENT_FREE), *prompt.tail]
        bias = None
        for head, bodies, errors in self._read(task, inputs, prompt, lambda space: space - most):
            if errors:
                yield Batch([], np.zeros((0, len(labels)), np.float32), errors)
            if bodies and bias is None:
                one = {0: len(neutral)}
                _, bias = next(
                    halving(one, budget, lambda _: self._scored(prompt.head, [neutral], trie))
                )
            lengths = {row: len(body) for row, body in bodies.items()}

            score = partial(self._scored_rows, head, bodies, trie)
            for rows, scores in halving(lengths, budget, score):
                yield Batch(
                    rows,
                    (scores - bias).softmax(-1).cpu().numpy(),
                    prompt_tokens=sum(len(head) + lengths[row] for row in rows),
                )

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(tokens) for tokens in encode_all(self._tokenizer, inputs)]

    def _grammar(self) -> Any:
        from sqlllm.engine.grammar import Grammars

        if self._grammars is None:
            width = self._model.get_output_embeddings().weight.shape[0]
            self._grammars = Grammars(self._tokenizer, width, self._ends)
        return self._grammars

    def _written(
        self, task: Task, inputs: Sequence[str], prompt: Prompt, grammar: Grammar | None
    ) -> Iterator[Batch]:
        """Rows as they finish; an empty batch after every pass, so that a query can be ended."""
        from sqlllm.engine.decoding import Row
        from sqlllm.engine.picking import Picker, generator

        picker = Picker(
            self._ends,
            stopped=(lambda tokens: self._stopped(task, tokens)) if task.stop else None,
            temperature=task.temperature,
            top_p=task.top_p,
            grammar=grammar,
        )
        for head, bodies, errors in self._read(task, inputs, prompt, partial(longest, task)):
            before = len(head) - len(prompt.head)
            if errors:
                yield Batch([], [], errors)
            rows = (
                Row(
                    at,
                    list(body),
                    len(body),
                    len(body) + room(task, before + len(body)),
                    rule=grammar.rule() if grammar else None,
                    draws=generator(task.seed, inputs[at]) if task.temperature else None,
                )
                for at, body in bodies.items()
            )
            for done in stepped(self._write(head, rows, picker)):
                yield self._answers(task, len(head), done)

    def _write(
        self, head: tuple[int, ...], rows: Iterable[Row], picker: Picker
    ) -> Iterator[list[Row]]:
        from sqlllm.engine.decoding import decode
        from sqlllm.engine.engine import Engine

        if isinstance(self._engine, Engine):
            return decode(self._engine, head, rows, picker)
        whole = []
        for row in rows:
            row.tokens[:0] = head
            row.prompt, row.most = row.prompt + len(head), row.most + len(head)
            whole.append(row)
        return self._engine.write(whole, picker)

    def _answers(self, task: Task, head: int, done: Sequence[Row]) -> Batch:
        """The texts of rows that are done; a form that was not completed is an error."""
        texts: dict[int, str] = {}
        errors: dict[int, SqlllmError] = {}
        for row in done:
            text = self._text(row.written)
            wrong = complaint(task, row, text)
            if wrong is None:
                texts[row.at] = up_to_stop(text, task)
            else:
                errors[row.at] = wrong
        return Batch(
            list(texts),
            list(texts.values()),
            errors,
            prompt_tokens=sum(head + row.prompt for row in done),
            completion_tokens=sum(len(row.written) for row in done),
        )

    def _read(
        self, task: Task, inputs: Sequence[str], prompt: Prompt, most: Callable[[int], int]
    ) -> Iterator[Read]:
        """The rows' tokens, part by part, the next part's read by another thread.

        `most` gives the longest text in a space of so many tokens.
        """
        free = max(most(self.window - len(prompt.head) - len(prompt.tail)), 0)

        def read(rows: list[int]) -> Read:
            bodies: dict[int, list[int]] = {}
            errors: dict[int, SqlllmError] = {}
            found = encode_all(self._tokenizer, [inputs[row] for row in rows])
            for row, tokens in zip(rows, found, strict=True):
                if len(tokens) <= free or task.truncate:
                    bodies[row] = [*tokens[:free], *prompt.tail]
                else:
                    errors[row] = InputTooLong(
                        f"the text {excerpt(inputs[row])} has {len(tokens)} tokens; "
                        f"model {self.name!r} has room for {free} here",
                        hint="add `truncate := true` to read only its beginning",
                    )
            return (*shared(prompt.head, bodies), errors)

        return ahead(read, windows(inputs))

    def _scored_rows(
        self, head: tuple[int, ...], bodies: dict[int, list[int]], trie: LabelTrie, rows: list[int]
    ) -> Any:
        return self._scored(head, [bodies[row] for row in rows], trie)

    def _scored(
        self, head: tuple[int, ...], bodies: Sequence[Sequence[int]], trie: LabelTrie
    ) -> Any:
        from sqlllm.engine.engine import Engine
        from sqlllm.engine.scoring import score

        if isinstance(self._engine, Engine):
            return on_model_thread(score, self._engine, head, bodies, trie)
        whole = [[*head, *body] for body in bodies]
        return on_model_thread(self._engine.score, whole, trie)

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _stopped(self, task: Task, tokens: list[int]) -> bool:
        # A token is a byte at least: the end of the answer is enough.
        latest = self._text(tokens[-8 - 4 * max(map(len, task.stop)) :])
        return any(stop in latest for stop in task.stop)


def _ids(value: int | list[int] | None) -> frozenset[int]:
    return frozenset([value] if isinstance(value, int) else value or ())
