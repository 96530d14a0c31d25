"""embed against sentence-transformers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sqlllm.bench import limits
from sqlllm.bench.baselines import SIZES, best_size
from sqlllm.bench.method import OURS, Answered, Method, Workload
from sqlllm.bench.models import Sentence
from sqlllm.bench.options import Options
from sqlllm.bench.sql import Sql
from sqlllm.bench.texts import lognormal, texts

MEAN, MOST, DEFAULT_BATCH = 70, 256, 32

Vectors = np.ndarray[Any, np.dtype[np.float32]]


def embedding(model: Sentence, sql: Sql, options: Options) -> Workload:
    """`ai.embed` of texts as long as real ones."""
    special = model.tokenizer.num_special_tokens_to_add()
    drawn = lognormal(options.on(options.embed_rows), mean=MEAN - special, most=MOST - special)
    # A one-word text could not be distinct for long.
    rows = texts([max(n, 4) for n in drawn], lambda text: _count(model, text), seed=2)
    lengths = [_count(model, text) + special for text in rows]
    sql.table("embed_rows", rows)
    parts = limits.embedding(model.shape, lengths)

    def ours() -> Answered:
        seconds, answers, _, _ = sql.ask("ai.embed(x)", "embed_rows")
        vectors = np.array(answers, np.float32)
        return Answered(seconds, len(rows), sum(lengths), limits.issued(parts), vectors)

    encoders = _Encoders(model, rows, lengths, options)
    return Workload(
        name="embed",
        rows=len(rows),
        facts={
            "rows": len(rows),
            "mean_tokens": sum(lengths) / len(lengths),
            "longest": max(lengths),
        },
        least=lambda _: parts,
        methods=[Method("ai.embed", OURS, ours, ours), *encoders.methods()],
        agree=encoders.agree,
        notes=[f"MFU and SOL of every line are against the peak in {model.dtype}"],
    )


def _count(model: Sentence, text: str) -> int:
    return len(model.tokenizer.encode(text, add_special_tokens=False))


class _Encoders:
    """`SentenceTransformer.encode`: its defaults, our precision at its best, row by row."""

    def __init__(
        self, model: Sentence, rows: list[str], lengths: list[int], options: Options
    ) -> None:
        self._model, self._rows, self._lengths, self._options = model, rows, lengths, options
        self._plain = model.encoder("float32")
        self._ours = model.encoder(model.dtype)
        self._size: int | None = None
        self._exact: Vectors | None = None

    def methods(self) -> list[Method]:
        """The lines of the baselines that were asked for."""
        rows, found = self._rows, []
        if "static" in self._options.baselines:
            found.append(
                Method(
                    f"encode, defaults (float32, batch {DEFAULT_BATCH})",
                    "static",
                    lambda: self._run(self._plain, rows, DEFAULT_BATCH),
                    lambda: self._plain.encode(rows[:2]),
                )
            )
            found.append(
                Method(
                    f"encode, {self._model.dtype}, best batch size",
                    "tuned",
                    lambda: self._run(self._ours, rows, self._best),
                    lambda: self._best,
                )
            )
        if "rows" in self._options.baselines:
            some = rows[: 2 * self._options.row_by_row(self._model.place)]
            found.append(
                Method(
                    f"encode, {self._model.dtype}, one row at a time",
                    "rows",
                    lambda: self._run(self._ours, some, 1),
                    lambda: self._ours.encode(rows[0]),
                    f"on {len(some)} of {len(rows)} rows",
                )
            )
        return found

    def _run(self, encoder: Any, rows: Sequence[str], size: int) -> Answered:
        started = time.perf_counter()
        if size == 1:
            vectors = np.stack([encoder.encode(text) for text in rows])
        else:
            vectors = encoder.encode(list(rows), batch_size=size, show_progress_bar=False)
        seconds = time.perf_counter() - started
        lengths = self._lengths[: len(rows)]
        widths = limits.padded(lengths, size)
        flops = limits.issued(limits.embedding(self._model.shape, widths))
        return Answered(seconds, len(rows), sum(lengths), flops, _unit(vectors))

    @property
    def _best(self) -> int:
        if self._size is None:
            # The same rows for every size: `encode` sorts them by length before it cuts batches.
            some = self._rows[: max(SIZES[self._model.place])]

            def run(size: int) -> int:
                self._ours.encode(some, batch_size=size, show_progress_bar=False)
                return len(some)

            self._size = best_size(run, self._model.place, len(self._rows))
        return self._size

    def agree(self, ours: Vectors, theirs: Vectors, kind: str) -> dict[str, float]:
        """Cosines to the vectors of `encode` in float32."""
        if self._exact is None:
            self._exact = _unit(self._plain.encode(self._rows, show_progress_bar=False))
        vectors = ours if kind == OURS else theirs
        cosines = (vectors * self._exact[: len(vectors)]).sum(axis=1)
        found = {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean())}
        return {"batch_size": self._best, **found} if kind == "tuned" else found


def _unit(vectors: Any) -> Vectors:
    found: Vectors = np.array(vectors, np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found
