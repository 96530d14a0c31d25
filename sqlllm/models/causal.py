"""Causal language models on transformers: complete, extract, and choose by scoring the labels."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sqlllm.engine import int8
from sqlllm.engine.batching import windows
from sqlllm.engine.decoding import Row
from sqlllm.engine.device import device, model_digest, precision
from sqlllm.engine.engine import Engine
from sqlllm.engine.grammar import Grammar, Grammars
from sqlllm.engine.memory import check_weights, halving
from sqlllm.engine.picking import Picker, generator
from sqlllm.engine.plain import Plain
from sqlllm.engine.prompt import Prompt, answers, encode, encode_all, prompt_of
from sqlllm.engine.scoring import LabelTrie
from sqlllm.engine.trial import Unsuitable
from sqlllm.errors import ConfigError, SqlllmError
from sqlllm.models.answers import complaint, longest, room, up_to_stop
from sqlllm.models.base import ANSWERS, Batch, Model
from sqlllm.models.labels import each_label, questions_of
from sqlllm.models.reading import Part, Room, read
from sqlllm.models.whole import check_language, check_words

if TYPE_CHECKING:
    from sqlllm.task import Task

COUNTED = 1024  # texts whose tokens are counted at once

CONTENT_FREE = "N/A"  # the text whose answer shows which labels the model prefers anyway


class CausalModel(Model):
    """A language model from a local folder, with safetensors weights and no remote code.

    `choose` is a forward pass, not text. A label's score is the mean log-probability of its
    tokens as the answer, less the same for the text "N/A", which takes out the model's
    preference for some labels (contextual calibration, Zhao et al., arXiv 2102.09690); the
    probabilities are the softmax of the scores.

    Args:
        folder: A folder that transformers can load.
        dtype: `float32`, `bfloat16`, `float16`; `int8`, on CPUs: linear layers multiply 8 bits by 8
            bits, in a quarter of the memory of float32, and answers differ a little more;
            None: bfloat16 where the hardware multiplies it natively.
        place: What the user called the folder, for messages.
    """

    about: ClassVar[str] = "language model on torch: text, JSON; labels and yes/no by scoring"

    def __init__(
        self, folder: str | Path, *, dtype: str | None = None, place: str | None = None
    ) -> None:
        path = Path(folder)
        place = place or str(folder)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where = device()
        dtype = dtype or precision(where)
        if dtype == "int8":
            int8.check(where)
        check_weights(path, dtype, where, place)
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype="auto" if dtype == "int8" else getattr(torch, dtype),
            output_loading_info=True,
        )
        check_language(path, report["missing_keys"], model.config.architectures or ())
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        check_words(tokenizer, encode(tokenizer, "A few words."), path, model)
        exact = f"int8-{precision(where)}" if dtype == "int8" else dtype
        fingerprint = f"causal:{model_digest(path)}:{exact}:{ANSWERS}"
        self._set(model.to(where), tokenizer, fingerprint, in_int8=dtype == "int8")

    @classmethod
    def of(
        cls, model: Any, tokenizer: Any, fingerprint: str, *, in_int8: bool = False
    ) -> CausalModel:
        """A model that is already in memory.

        Args:
            model: A causal language model of transformers, on its device. Its attention is
                replaced in place.
            tokenizer: Its fast tokenizer.
            fingerprint: Changes whenever the weights do.
            in_int8: Change its linear layers to int8, too, on CPUs.
        """
        made = cls.__new__(cls)
        if in_int8:
            int8.check(model.device.type)
        made._set(model, tokenizer, fingerprint, in_int8=in_int8)
        return made

    def _set(self, model: Any, tokenizer: Any, fingerprint: str, *, in_int8: bool) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self.fingerprint = fingerprint
        config = model.config.get_text_config()  # of a model that reads images, too, a part
        self.window: int = getattr(config, "max_position_embeddings", None) or 1 << 20
        self._ends = _ids(model.generation_config.eos_token_id) or _ids(tokenizer.eos_token_id)
        self._engine: Engine | Plain
        try:
            self._engine = Engine(self._model, in_int8=in_int8)
        except Unsuitable as reason:
            if in_int8:
                msg = f"the model can't run in int8: it {reason}"
                raise ConfigError(msg, hint=int8.HINT) from reason
            self._engine = Plain(self._model)
            self.note = f"runs by transformers' generate, without a shared prefix: it {reason}"
        most = self._engine.most_positions
        if most is not None and most < self.window:
            self.window = most
            self.note = f"reads {most:,} tokens at most: longer ones change what it makes of others"

    def complete(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Greedy text, or sampled with a seed per row when `task.temperature` is above 0."""
        grammar = None
        if task.schema or task.pattern:
            grammars = self._grammars
            grammar = grammars.json(task.schema) if task.schema else grammars.regex(task.pattern)
        return self._written(task, inputs, grammar)

    def extract(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """JSON that is valid against the schema; an answer that is cut off is an error."""
        return self.complete(task, inputs)

    def choose(self, task: Task, inputs: Sequence[str]) -> Iterator[Batch]:
        """Softmax over the labels' calibrated scores."""
        import numpy as np

        if task.multi:
            parts = self._blocks(inputs) if task.text_first else windows(inputs)
            yield from each_label(self.choose, task, inputs, parts)
            return
        labels = [encode(self._tokenizer, answer) for answer in answers(task)]
        trie, most = LabelTrie.build(labels), max(map(len, labels))
        prompt = prompt_of(self._tokenizer, task)
        bias = None
        for part in self._read(task, inputs, prompt, lambda space: space - most):
            if part.errors or not part.bodies:
                yield Batch([], np.zeros((0, len(labels)), np.float32), part.errors)
            if part.bodies and bias is None:
                bias = self._bias(part, prompt, trie)
            odds = partial(self._odds, part, trie, bias)
            spare = partial(self._spare, part, part.head)
            at_once, budget = self._engine.at_once, self._engine.budget
            for rows, found in halving(part.lengths(), budget, odds, spare, at_once=at_once):
                yield Batch(
                    rows,
                    found,
                    prompt_tokens=sum(len(part.head) + len(part.bodies[row]) for row in rows),
                )

    def _bias(self, part: Part, prompt: Prompt, trie: LabelTrie) -> Any:
        """The scores for a text that says nothing."""
        neutral = [*encode(self._tokenizer, CONTENT_FREE), *prompt.tail]
        one = {0: len(neutral)}

        def score(_: list[int]) -> Any:
            return self._engine.score(prompt.head, [neutral], trie)

        def spare() -> dict[int, int] | None:
            return one if self._spare(part, prompt.head) is not None else None

        _, found = next(halving(one, self._engine.budget, score, spare))
        return found

    def count_tokens(self, inputs: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return [len(tokens) for tokens in encode_all(self._tokenizer, inputs)]

    def behind(self, task: Task) -> list[int]:
        """One question, or one per label of a `multi` task."""
        if self._engine.texts is None or not task.asks:
            return []
        questions = questions_of(task) if task.multi else [task]
        found = []
        for each in questions:
            places = [
                prompt_of(self._tokenizer, replace(each, text_first=on)) for on in (True, False)
            ]
            found.append(len(places[0].tail) - len(places[1].tail))
        return found

    def blocks(self, inputs: Sequence[str]) -> Generator[int, None, None]:
        """As many as there is memory for; their keys and values are kept meanwhile."""
        texts = self._engine.texts
        if texts is None:
            yield len(inputs)
            return
        with texts.held():
            room, size, tokens = texts.room(), 0, 0
            for at in range(0, len(inputs), COUNTED):
                for count in self.count_tokens(inputs[at : at + COUNTED]):
                    if size and tokens + count > room:
                        yield size
                        room, size, tokens = texts.room(), 0, 0
                    size, tokens = size + 1, tokens + count
            if size:
                yield size

    def _blocks(self, inputs: Sequence[str]) -> Iterator[list[int]]:
        """Positions of inputs of similar length, in blocks."""
        order = [row for part in windows(inputs) for row in part]
        at = 0
        for size in self.blocks([inputs[row] for row in order]):
            yield order[at : at + size]
            at += size

    @cached_property
    def _grammars(self) -> Grammars:
        width = self._model.get_output_embeddings().weight.shape[0]
        return Grammars(self._tokenizer, width, self._ends)

    def _written(
        self, task: Task, inputs: Sequence[str], grammar: Grammar | None
    ) -> Iterator[Batch]:
        """Rows as they finish; an empty batch after every pass, so that a query can be ended."""
        prompt = prompt_of(self._tokenizer, task)
        around = len(prompt.head) + len(prompt.tail)
        picker = Picker(
            self._ends,
            stopped=(lambda tokens: self._stopped(task, tokens)) if task.stop else None,
            temperature=task.temperature,
            top_p=task.top_p,
            grammar=grammar,
        )
        for part in self._read(task, inputs, prompt, partial(longest, task)):
            if part.errors or not part.bodies:
                yield Batch([], [], part.errors)
            rows = (
                picker.opened(
                    Row(
                        at,
                        list(body),
                        len(body),
                        len(body) + room(task, len(part.head) + len(body) - around),
                        rule=grammar.rule() if grammar else None,
                        draws=generator(task.seed, inputs[at]) if task.temperature else None,
                        begun=part.begun.get(at),
                    )
                )
                for at, body in part.bodies.items()
            )
            for done in self._engine.write(part.head, rows, picker):
                yield self._answers(task, len(part.head), done)

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
    ) -> Iterator[Part]:
        """The rows as tokens; `most` gives the longest text in a space of so many."""
        room = Room.of(task, self, prompt, most)
        engine = self._engine if isinstance(self._engine, Engine) else None
        kept = engine.texts if engine and task.text_first and engine.texts.wanted else None
        return read(self._tokenizer, inputs, prompt, room, engine, kept)

    def _spare(self, part: Part, head: tuple[int, ...]) -> dict[int, int] | None:
        """Let go of what isn't this head, as memory has run out; the rows' lengths without it."""
        if self._engine.texts is None:
            return None
        begun = bool(part.begun)
        part.begun.clear()
        return part.lengths() if self._engine.let_go(head) or begun else None

    def _odds(self, part: Part, trie: LabelTrie, bias: Any, rows: list[int]) -> Any:
        """Of rows' labels, (rows, labels); by the models' threads to the end: a thread of the user
        that runs torch would have a team of its own, which a forked process waits for."""
        begun = [part.begun.get(row) for row in rows]
        scores = self._engine.score(part.head, [part.bodies[row] for row in rows], trie, begun)
        return (scores - bias).softmax(-1).cpu().numpy()

    def _text(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def _stopped(self, task: Task, tokens: list[int]) -> bool:
        # A token is a byte at least: the end of the answer is enough.
        latest = self._text(tokens[-8 - 4 * max(map(len, task.stop)) :])
        return any(stop in latest for stop in task.stop)


def _ids(value: int | list[int] | None) -> frozenset[int]:
    return frozenset([value] if isinstance(value, int) else value or ())
