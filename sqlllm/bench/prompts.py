"""What classify, filter, complete and extract share: prompts, and the methods that write tokens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from sqlllm.bench import engines, limits
from sqlllm.bench.baselines import best_size, continuous, generated
from sqlllm.bench.machine import synchronize
from sqlllm.bench.method import Answered, Method, Skipped
from sqlllm.bench.models import Causal
from sqlllm.bench.options import Options
from sqlllm.bench.texts import padded_to, texts
from sqlllm.engine.prompt import Prompt, encode

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

    @property
    def facts(self) -> dict[str, Any]:
        """Sizes for the report."""
        lengths = [len(body) for body in self.bodies]
        return {
            "rows": len(lengths),
            "instruction_tokens": len(self.prompt.head),
            "row_tokens": sum(lengths) / len(lengths),
        }


def instruction(
    model: Causal, options: Options, beginning: str, head: Callable[[str], Prompt]
) -> str:
    """A text that makes the shared head as long as the options say."""
    return padded_to(
        options.head,
        beginning,
        lambda text: len(head(text).head),
        lambda text: len(encode(model.tokenizer, text)),
    )


def prompts(model: Causal, options: Options, prompt: Prompt, rows: int) -> Prompts:
    """Rows of the asked length behind a prompt."""
    own = max(options.body - len(prompt.tail), 4)  # fewer words would not be distinct
    made = texts([own] * options.on(rows), lambda text: len(encode(model.tokenizer, text)), seed=1)
    return Prompts(prompt, made, model.tokenizer)


class Writers:
    """Methods that write tokens after the full prompts.

    Args:
        model: The model.
        options: Sizes and which baselines.
    """

    def __init__(self, model: Causal, options: Options) -> None:
        self._model = model
        self._options = options
        self._sizes: dict[int, int] = {}  # limit -> best batch size
        self._engines: dict[str, engines.Write] = {}

    def add(
        self, kinds: Sequence[str], rows: Prompts, limit: int
    ) -> tuple[list[Method], dict[str, str]]:
        """The methods of these kinds, and why others are not there."""
        methods, skipped = [], {}
        for kind in kinds:
            if kind not in self._options.baselines:
                continue
            reason = engines.missing(kind) if kind in engines.MODULES else None
            try:
                if reason:
                    raise Skipped(reason)
                methods.append(self._method(kind, rows, limit))
            except Skipped as why:
                skipped[kind] = str(why)
        return methods, skipped

    def _method(self, kind: str, rows: Prompts, limit: int) -> Method:
        model, place = self._model, self._model.place
        total = len(rows.whole)
        if kind == "rows":
            count = min(total, self._options.row_by_row(place))
            write = partial(self._generate, limit=limit, size=1)
            return self._line(kind, rows, count, limit, lambda: write(rows.whole[:count]), write)
        if kind == "static":
            write = partial(self._generate, limit=limit)
            return self._line(
                kind,
                rows,
                total,
                limit,
                lambda: write(rows.whole, size=self._size(rows, limit)),
                lambda _: self._size(rows, limit),
            )
        if kind == "continuous":
            count = min(total, self._options.in_turn(place))
            write = partial(continuous, model.plain, limit=limit, ends=model.ends)
            return self._line(kind, rows, count, limit, lambda: write(rows.whole[:count]), write)
        engine = self._engine(kind)
        count = total if kind == "vllm" else min(total, self._options.row_by_row(place))
        return self._line(
            kind,
            rows,
            count,
            limit,
            lambda: engine(rows.whole[:count], limit),
            lambda some: engine(some, limit),
        )

    def _line(
        self,
        kind: str,
        rows: Prompts,
        count: int,
        limit: int,
        run: Callable[[], list[list[int]]],
        warm: Callable[[Any], object],
    ) -> Method:
        def timed() -> Answered:
            started = time.perf_counter()
            written = run()
            synchronize(self._model.place)
            seconds = time.perf_counter() - started
            return Answered(
                seconds=seconds,
                rows=count,
                tokens=sum(map(len, rows.whole[:count])) + sum(map(len, written)),
                flops=self._flops(kind, rows.whole[:count], written, limit),
                answers=written,
            )

        note = f"on {count} of {len(rows.whole)} rows" if count < len(rows.whole) else ""
        return Method(NAMES[kind], kind, timed, lambda: warm(rows.whole[:2]), note)

    def _flops(
        self, kind: str, whole: list[list[int]], written: list[list[int]], limit: int
    ) -> float:
        """With the padding of rows that have ended but stay in their static batch."""
        if kind not in ("rows", "static"):
            return float("nan")  # how much they share of the prompts isn't known
        shape = self._model.shape
        size = self.batch_size(limit) if kind == "static" else 1
        widths = limits.padded([len(row) for row in whole], size)
        steps = limits.padded([min(len(row) + 1, limit) for row in written], size)
        return limits.issued(limits.writing(shape, 0, widths, steps))

    def _generate(self, rows: list[list[int]], *, limit: int, size: int) -> list[list[int]]:
        model = self._model
        return generated(model.plain, rows, size, limit=limit, ends=model.ends)

    def _size(self, rows: Prompts, limit: int) -> int:
        if limit not in self._sizes:

            def run(size: int) -> int:
                self._generate(rows.whole[:size], limit=limit, size=size)
                return min(size, len(rows.whole))

            self._sizes[limit] = best_size(run, self._model.place, len(rows.whole))
        return self._sizes[limit]

    def batch_size(self, limit: int) -> int:
        """The batch size that was the fastest for that many tokens."""
        return self._sizes.get(limit, 1)

    def _engine(self, kind: str) -> engines.Write:
        if kind not in self._engines:
            model = self._model
            try:
                self._engines[kind] = (
                    engines.vllm(model, model.ends)
                    if kind == "vllm"
                    else engines.llamacpp(self._options.gguf, model.ends)
                )
            except Skipped:
                raise
            except Exception as error:  # an engine may fail to start in many ways
                msg = f"it did not start: {type(error).__name__}: {error}"
                raise Skipped(msg) from error
        return self._engines[kind]
