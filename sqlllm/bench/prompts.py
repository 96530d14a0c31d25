"""What classify, filter, complete and extract share: prompts, and the methods that write tokens."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from sqlllm.bench import engines, limits
from sqlllm.bench.baselines import Rows, best_size, continuous, generated
from sqlllm.bench.machine import synchronize
from sqlllm.bench.method import Answered, Line, Method, Skipped
from sqlllm.bench.models import Causal
from sqlllm.bench.options import Options
from sqlllm.bench.sql import Sql
from sqlllm.bench.texts import padded_to, texts
from sqlllm.engine.prompt import Prompt, encode

HEAD, BODY = 128, 24  # tokens of the instruction, and of each row behind it
NAMES = {
    "rows": "generate, one row at a time",
    "static": "generate, static batches",
    "continuous": "generate_batch (continuous batching)",
    "vllm": "vLLM",
    "llamacpp": "llama.cpp",
}


@dataclass
class Prompts:
    """The rows of a task: the same token ids for every method.

    Attributes:
        prompt: What stands before and after each text.
        texts: The texts, as the table holds them.
        tokenizer: The model's.
    """

    prompt: Prompt
    texts: list[str]
    tokenizer: Any

    @cached_property
    def bodies(self) -> list[list[int]]:
        """Each row's own tokens."""
        return [[*encode(self.tokenizer, text), *self.prompt.tail] for text in self.texts]

    @cached_property
    def whole(self) -> list[list[int]]:
        """The full prompts."""
        return [[*self.prompt.head, *body] for body in self.bodies]

    @cached_property
    def tokens(self) -> int:
        """Of all full prompts."""
        return sum(map(len, self.whole))

    @property
    def facts(self) -> dict[str, Any]:
        """Sizes for the report."""
        lengths = [len(body) for body in self.bodies]
        return {
            "rows": len(lengths),
            "instruction_tokens": len(self.prompt.head),
            "row_tokens": sum(lengths) / len(lengths),
        }


@dataclass
class Language:
    """What the workloads of a language model are made from.

    Attributes:
        model: The model.
        sql: Our connection to it.
        options: Sizes, and which baselines.
    """

    model: Causal
    sql: Sql
    options: Options
    _engines: dict[str, engines.Write] = field(default_factory=dict, init=False)

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(encode(self.model.tokenizer, text))

    def instruction(self, beginning: str, prompt: Callable[[str], Prompt]) -> str:
        """A text that makes the shared head of its prompt `HEAD` tokens long."""
        return padded_to(HEAD, beginning, lambda text: len(prompt(text).head), self.count)

    def prompts(self, prompt: Prompt, rows: int) -> Prompts:
        """Rows of `BODY` tokens behind a prompt."""
        own = max(BODY - len(prompt.tail), 4)  # fewer words would not be distinct
        made = texts([own] * self.options.on(rows), self.count, seed=1)
        return Prompts(prompt, made, self.model.tokenizer)

    def writers(
        self, kinds: Sequence[str], rows: Prompts, limit: int
    ) -> tuple[list[Method], dict[str, str]]:
        """Those of these baselines that were asked for, and why others are not there."""
        methods, skipped = [], {}
        for kind in kinds:
            if kind in self.options.baselines:
                try:
                    methods.append(self.writer(kind, rows, limit))
                except Skipped as why:
                    skipped[kind] = str(why)
        return methods, skipped

    def writer(self, kind: str, rows: Prompts, limit: int) -> Method:
        """A method that writes tokens after the full prompts.

        Args:
            kind: One of `BASELINES`.
            rows: The prompts.
            limit: The most tokens of an answer.

        Raises:
            Skipped: Its engine isn't here, or doesn't start.
        """
        model, options = self.model, self.options
        some: Rows = rows.whole
        if kind in ("rows", "llamacpp"):
            some = some[: options.row_by_row(model.place)]
        elif kind == "continuous":
            some = some[: options.in_turn(model.place)]
        engine = self._engine(kind) if kind in engines.MODULES else None

        def generate(part: Rows, size: int) -> list[list[int]]:
            return generated(model.plain, part, size, limit=limit, ends=model.ends)

        @cache
        def size() -> int:
            if kind == "rows":
                return 1
            return best_size(lambda n: len(generate(some[:n], n)), model.place, len(some))

        def write(part: Rows) -> list[list[int]]:
            if engine:
                return engine(part, limit)
            if kind == "continuous":
                return continuous(model.plain, part, limit=limit, ends=model.ends)
            return generate(part, size())

        def run() -> Answered:
            started = time.perf_counter()
            written = write(some)
            synchronize(model.place)
            seconds = time.perf_counter() - started
            flops = math.nan  # how much the others share of the prompts isn't known
            if kind in ("rows", "static"):
                # Rows that have ended stay in their batch.
                widths = limits.padded([len(row) for row in some], size())
                steps = limits.padded([min(len(row) + 1, limit) for row in written], size())
                flops = limits.issued(limits.writing(model.shape, 0, widths, steps))
            return Answered(
                seconds,
                sum(map(len, some)) + sum(map(len, written)),
                flops,
                written,
                size() if kind == "static" else None,
            )

        return Method(Line(NAMES[kind], kind, len(some)), run, lambda: write(some[:2]))

    def _engine(self, kind: str) -> engines.Write:
        if kind not in self._engines:
            self._engines[kind] = engines.start(kind, self.model, self.options.gguf)
        return self._engines[kind]
