"""classify and filter against a batched forward pass and against engines that write one token."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sqlllm.bench import limits
from sqlllm.bench.baselines import Rows, best_size, label_logits
from sqlllm.bench.method import OURS, Answered, Line, Method, Skipped, Table, Workload
from sqlllm.bench.prompts import Language, Prompts
from sqlllm.bench.sql import quoted
from sqlllm.bench.texts import LABELS
from sqlllm.engine.prompt import Prompt, answers, choice_prompt, encode
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


class Choosing:
    """`ai.classify` or `ai.filter`, with an instruction that all rows share.

    Args:
        name: `classify` or `filter`.
        language: The model, our connection and sizes.
    """

    def __init__(self, name: str, language: Language) -> None:
        self.name, self.language, self.model = name, language, language.model
        self.task = self._task()
        labels = [encode(self.model.tokenizer, answer) for answer in answers(self.task)]
        if any(len(label) != 1 for label in labels):
            msg = f"the answers {answers(self.task)} are not one token each in this tokenizer"
            raise Skipped(msg)
        self.labels = [token for (token,) in labels]
        prompt = choice_prompt(self.model.tokenizer, self.task)
        self.rows: Prompts = language.prompts(prompt, language.options.rows)
        language.sql.table(f"{name}_rows", self.rows.texts)

    def workload(self) -> Workload:
        """Ours, the batched forward, and what writes the label as a token."""
        language, rows = self.language, self.rows
        baselines, count = language.options.baselines, len(rows.whole)
        methods = [Method(Line("ai." + self.name, OURS, count), self._ours, self._ours)]
        if "static" in baselines:
            line = Line("forward, static batches", "static", count)
            methods.append(Method(line, self._forward, lambda: self._size))
        if "rows" in baselines:
            words, token = (language.writer("rows", rows, limit) for limit in (WORDS, 1))
            words.line.name += f", up to {WORDS} tokens"
            token.line.name += ", 1 token"
            token.line.kind = "one_token"
            methods += [words, token]
        others, skipped = language.writers(("continuous", "vllm", "llamacpp"), rows, limit=1)
        methods += others
        facts = {**rows.facts, "labels": len(self.labels)}
        table = Table.of(self.name, facts, methods, skipped, self.model.notes)
        return Workload(table, methods, lambda _: self._parts(), self._agree)

    def _task(self) -> Task:
        labels: tuple[str, ...] = YES_NO
        if self.name == "classify":
            single = [x for x in LABELS.split() if self.language.count(f" {x}") == 1]
            labels = tuple(single[:CHOICES])
            if len(labels) < 2:
                raise Skipped("no two label words are one token in this tokenizer")

        def asked(text: str) -> Task:
            return Task("choose", labels=labels, instruction=text)

        def prompt(text: str) -> Prompt:
            return choice_prompt(self.model.tokenizer, asked(text))

        return asked(self.language.instruction(QUESTIONS[self.name], prompt))

    def _parts(self) -> list[limits.Part]:
        bodies = [len(body) for body in self.rows.bodies]
        head = len(self.rows.prompt.head)
        return limits.choosing(self.model.shape, head, bodies, len(self.labels))

    def _ask(self, function: str) -> tuple[float, list[Any]]:
        call = f"ai.{function}(x, {quoted(self.task.instruction)})"
        if self.name == "classify":
            labels = ", ".join(map(quoted, self.task.labels))
            question = quoted(self.task.instruction)
            call = f"ai.{function}(x, [{labels}], instruction := {question})"
        seconds, found, _ = self.language.sql.ask(call, f"{self.name}_rows")
        return seconds, found

    def _ours(self) -> Answered:
        seconds, found = self._ask(self.name)
        values = (True, False) if self.name == "filter" else self.task.labels
        best = np.array([values.index(value) for value in found])
        flops = limits.issued(self._parts())
        return Answered(seconds, self.rows.tokens, flops, Chosen(best, self._odds))

    @cached_property
    def _odds(self) -> Any:
        """Our probabilities, asked once and outside the measurement."""
        if self.name == "filter":
            _, found = self._ask("score")
            return np.array([[yes, 1 - yes] for yes in found], np.float32)
        _, found = self._ask("classify_scores")
        scores = [{entry["label"]: entry["score"] for entry in row} for row in found]
        return np.array([[row[label] for label in self.task.labels] for row in scores], np.float32)

    def _logits(self, plain: Any, rows: Rows, size: int) -> Any:
        """The label's logit less the same for "N/A": ours has that calibration, so it has too."""
        prompt, text = self.rows.prompt, encode(self.model.tokenizer, CONTENT_FREE)
        neutral = label_logits(plain, [[*prompt.head, *text, *prompt.tail]], self.labels, 1)
        return label_logits(plain, rows, self.labels, size) - neutral

    def _forward(self) -> Answered:
        size, whole = self._size, self.rows.whole
        started = time.perf_counter()
        odds = self._logits(self.model.plain, whole, size).softmax(-1).numpy()
        seconds = time.perf_counter() - started
        widths = limits.padded([len(row) for row in whole], size)
        flops = limits.issued(limits.choosing(self.model.shape, 0, widths, len(self.labels)))
        return Answered(seconds, self.rows.tokens, flops, Chosen(odds.argmax(-1), odds), size)

    @cached_property
    def _size(self) -> int:
        """The best batch size of the forward pass."""
        plain, whole = self.model.plain, self.rows.whole
        return best_size(
            lambda size: len(label_logits(plain, whole[:size], self.labels, size)),
            self.model.place,
            len(whole),
        )

    @cached_property
    def _exact(self) -> Any:
        """Labels of the first rows in float32: which of the two is nearer to what the model says.

        In bfloat16 both move probabilities by about 0.01, which is enough to turn near-ties.
        """
        model = self.model
        quick = self.language.options.quick
        if model.plain_dtype == "float32" or model.shape.linear > SMALL or quick:
            return None
        logits = self._logits(model.make().float(), self.rows.whole[:EXACT], 32)
        return logits.argmax(-1).numpy()

    def _agree(self, ours: Chosen, theirs: Any, kind: str) -> dict[str, float]:
        if not isinstance(theirs, Chosen):
            texts = [self.model.tokenizer.decode(row).lower() for row in theirs]
            named = [any(label in text for label in self.task.labels) for text in texts]
            return {"answers_that_name_a_label": sum(named) / len(named)}
        found = {}
        if kind == "static":
            found["equal_labels"] = float((ours.best == theirs.best).mean())
            found["largest_probability_difference"] = float(np.abs(ours.odds - theirs.odds).max())
        if self._exact is not None:
            same = theirs.best[: len(self._exact)] == self._exact
            found["equal_to_float32"] = float(same.mean())
        return found
