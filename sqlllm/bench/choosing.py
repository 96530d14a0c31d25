"""classify and filter against a batched forward pass and against engines that write one token."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sqlllm.bench import limits
from sqlllm.bench.baselines import best_size, label_logits
from sqlllm.bench.method import OURS, Answered, Method, Skipped, Workload
from sqlllm.bench.models import Causal
from sqlllm.bench.options import Options
from sqlllm.bench.prompts import Prompts, Writers, instruction, prompts
from sqlllm.bench.sql import Sql, quoted
from sqlllm.bench.texts import LABELS
from sqlllm.engine.prompt import answers, choice_prompt, encode
from sqlllm.models.causal import CONTENT_FREE
from sqlllm.task import YES_NO, Task

CHOICES = 6
WORDS = 8  # tokens that `generate` may write: room for a label that doesn't come at once
EXACT = 64  # rows that are also asked in float32
SMALL = 5e8  # weights up to which a copy in float32 is made for that
QUESTIONS = {
    "classify": "What is this message about? Read it closely and choose the topic that fits best.",
    "filter": "Does the writer of this message want money back or a new item from the shop?",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """Answers: the position of each row's label, and the probabilities, shape (rows, labels)."""

    best: np.ndarray[Any, np.dtype[np.intp]]
    odds: np.ndarray[Any, np.dtype[np.float32]]


def choosing(name: str, model: Causal, sql: Sql, options: Options, writers: Writers) -> Workload:
    """`ai.classify` or `ai.filter`, with an instruction that all rows share."""
    return Choosing(name, model, sql, options, writers).workload()


class Choosing:
    """Builds the workload.

    Args:
        name: `classify` or `filter`.
        model: The language model.
        sql: Our connection.
        options: Sizes.
        writers: Methods that write tokens.
    """

    def __init__(
        self, name: str, model: Causal, sql: Sql, options: Options, writers: Writers
    ) -> None:
        self.name, self.model, self.sql, self.options = name, model, sql, options
        self.writers = writers
        self.task = self._task()
        self.labels = [encode(model.tokenizer, answer) for answer in answers(self.task)]
        if any(len(label) != 1 for label in self.labels):
            msg = f"the answers {answers(self.task)} are not one token each in this tokenizer"
            raise Skipped(msg)
        self.rows: Prompts = prompts(
            model, options, choice_prompt(model.tokenizer, self.task), options.rows
        )
        sql.table(f"{name}_rows", self.rows.texts)
        self._size: int | None = None

    def workload(self) -> Workload:
        """Ours, the batched forward, and what writes the label as a token."""
        methods = [Method("ai." + self.name, OURS, self._ours, self._ours)]
        if "static" in self.options.baselines:
            methods.append(
                Method("forward, static batches", "static", self._forward, lambda: self._best)
            )
        others, skipped = self.writers.add(("continuous", "vllm", "llamacpp"), self.rows, limit=1)
        words, _ = self.writers.add(("rows",), self.rows, limit=WORDS)
        token, _ = self.writers.add(("rows",), self.rows, limit=1)
        methods += [replace(m, name=f"{m.name}, up to {WORDS} tokens") for m in words]
        methods += [replace(m, name=f"{m.name}, 1 token", kind="one_token") for m in token]
        facts = {**self.rows.facts, "labels": len(self.labels)}
        return Workload(
            name=self.name,
            rows=len(self.rows.texts),
            facts=facts,
            least=lambda _: self._parts(),
            methods=methods + others,
            agree=self._agree,
            skipped=skipped,
            notes=self.model.notes,
        )

    def _task(self) -> Task:
        count = self.model.tokenizer
        labels: tuple[str, ...] = YES_NO
        if self.name == "classify":
            single = [label for label in LABELS.split() if len(encode(count, f" {label}")) == 1]
            labels = tuple(single[:CHOICES])
            if len(labels) < 2:
                raise Skipped("no two label words are one token in this tokenizer")

        def asked(text: str) -> Task:
            return Task("choose", labels=labels, instruction=text)

        return asked(
            instruction(
                self.model,
                self.options,
                QUESTIONS[self.name],
                lambda text: choice_prompt(count, asked(text)),
            )
        )

    def _parts(self) -> list[limits.Part]:
        bodies = [len(body) for body in self.rows.bodies]
        return limits.choosing(
            self.model.shape, len(self.rows.prompt.head), bodies, len(self.labels)
        )

    def _call(self, function: str) -> str:
        question = quoted(self.task.instruction)
        if self.name == "filter":
            return f"ai.{function}(x, {question})"
        labels = ", ".join(quoted(label) for label in self.task.labels)
        return f"ai.{function}(x, [{labels}], instruction := {question})"

    def _ours(self) -> Answered:
        seconds, found, _, _ = self.sql.ask(self._call(self.name), f"{self.name}_rows")
        if self.name == "filter":
            best = np.array([0 if yes else 1 for yes in found])
        else:
            best = np.array([self.task.labels.index(label) for label in found])
        return Answered(
            seconds=seconds,
            rows=len(found),
            tokens=sum(map(len, self.rows.whole)),
            flops=limits.issued(self._parts()),
            answers=Chosen(best, self._odds),
        )

    @cached_property
    def _odds(self) -> Any:
        """Our probabilities, asked once and outside the measurement."""
        if self.name == "filter":
            found = self.sql.ask(self._call("score"), "filter_rows")[1]
            return np.array([[yes, 1 - yes] for yes in found], np.float32)
        found = self.sql.ask(self._call("classify_scores"), "classify_rows")[1]
        scores = [{entry["label"]: entry["score"] for entry in row} for row in found]
        return np.array([[row[label] for label in self.task.labels] for row in scores], np.float32)

    def _forward(self) -> Answered:
        """The label's logit less the same for "N/A": ours has that calibration, so it has too."""
        size, model = self._best, self.model
        started = time.perf_counter()
        tokens = [label[0] for label in self.labels]
        bias = label_logits(model.plain, [self._neutral], tokens, 1)
        logits = label_logits(model.plain, self.rows.whole, tokens, size) - bias
        odds = logits.softmax(-1).numpy()
        seconds = time.perf_counter() - started
        widths = limits.padded([len(row) for row in self.rows.whole], size)
        return Answered(
            seconds=seconds,
            rows=len(self.rows.whole),
            tokens=sum(map(len, self.rows.whole)),
            flops=limits.issued(limits.choosing(model.shape, 0, widths, len(tokens))),
            answers=Chosen(odds.argmax(-1), odds),
        )

    @property
    def _neutral(self) -> list[int]:
        prompt, text = self.rows.prompt, encode(self.model.tokenizer, CONTENT_FREE)
        return [*prompt.head, *text, *prompt.tail]

    @property
    def _best(self) -> int:
        if self._size is None:
            tokens = [label[0] for label in self.labels]

            def run(size: int) -> int:
                label_logits(self.model.plain, self.rows.whole[:size], tokens, size)
                return min(size, len(self.rows.whole))

            self._size = best_size(run, self.model.place, len(self.rows.whole))
        return self._size

    @cached_property
    def _exact(self) -> Any:
        """Labels of the first rows in float32: which of the two is nearer to what the model says.

        In bfloat16 both move probabilities by about 0.01, which is enough to turn near-ties.
        """
        model = self.model
        if model.plain_dtype == "float32" or model.shape.linear > SMALL or self.options.quick:
            return None
        tokens, plain = [label[0] for label in self.labels], model.make().float()
        bias = label_logits(plain, [self._neutral], tokens, 1)
        return (label_logits(plain, self.rows.whole[:EXACT], tokens, 32) - bias).argmax(-1).numpy()

    def _agree(self, ours: Chosen, theirs: Any, kind: str) -> dict[str, float]:
        if kind in (OURS, "static"):
            found = {}
            if kind == "static":
                found["batch_size"] = float(self._best)
                found["equal_labels"] = float((ours.best == theirs.best).mean())
                difference = np.abs(ours.odds - theirs.odds).max()
                found["largest_probability_difference"] = float(difference)
            if self._exact is not None:
                same = theirs.best[: len(self._exact)] == self._exact
                found["equal_to_float32"] = float(same.mean())
            return found
        texts = [self.model.tokenizer.decode(row).lower() for row in theirs]
        named = [any(label in text for label in self.task.labels) for text in texts]
        return {"answers_that_name_a_label": sum(named) / len(named)}
