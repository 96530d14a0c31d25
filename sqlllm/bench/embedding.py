"""embed against sentence-transformers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from sqlllm.bench import limits
from sqlllm.bench.baselines import SIZES, best_size
from sqlllm.bench.method import OURS, Answered, Line, Method, Table, Workload
from sqlllm.bench.models import Sentence
from sqlllm.bench.options import Options
from sqlllm.bench.sql import Sql
from sqlllm.bench.texts import lognormal, texts
from sqlllm.engine.prompt import encode

MEAN, MOST, DEFAULT_BATCH = 70, 256, 32

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class Embedding:
    """`ai.embed` of texts as long as real ones, and `SentenceTransformer.encode`.

    The latter with its defaults, in our precision at its best, and row by row.
    """

    def __init__(self, model: Sentence, sql: Sql, options: Options) -> None:
        self.model, self.sql, self.options = model, sql, options
        special = model.tokenizer.num_special_tokens_to_add()
        drawn = lognormal(options.on(options.embed_rows), mean=MEAN - special, most=MOST - special)

        def count(text: str) -> int:
            return len(encode(model.tokenizer, text))

        # A one-word text could not be distinct for long.
        self.rows = texts([max(n, 4) for n in drawn], count, seed=2)
        self.lengths = [count(text) + special for text in self.rows]
        sql.table("embed_rows", self.rows)
        self.plain = model.encoder("float32")
        self.tuned = model.encoder(model.dtype)

    def workload(self) -> Workload:
        """Ours, and the baselines that were asked for."""
        rows, lengths, dtype = self.rows, self.lengths, self.model.dtype
        methods = [Method(Line("ai.embed", OURS, len(rows)), self._ours, self._ours)]
        if "static" in self.options.baselines:
            name = f"encode, defaults (float32, batch {DEFAULT_BATCH})"
            methods.append(
                Method(
                    Line(name, "static", len(rows)),
                    lambda: self._encode(self.plain, rows, DEFAULT_BATCH),
                    lambda: self.plain.encode(rows[:2]),
                )
            )
            methods.append(
                Method(
                    Line(f"encode, {dtype}, best batch size", "tuned", len(rows)),
                    lambda: self._encode(self.tuned, rows, self._size),
                    lambda: self._size,
                )
            )
        if "rows" in self.options.baselines:
            some = rows[: 2 * self.options.row_by_row(self.model.place)]
            methods.append(
                Method(
                    Line(f"encode, {dtype}, one row at a time", "rows", len(some)),
                    lambda: self._encode(self.tuned, some, 1),
                    lambda: self.tuned.encode(rows[0]),
                )
            )
        facts = {
            "rows": len(rows),
            "mean_tokens": sum(lengths) / len(lengths),
            "longest": max(lengths),
        }
        notes = [f"MFU and SOL of every line are against the peak in {dtype}"]
        table = Table.of("embed", facts, methods, {}, notes)
        parts = limits.embedding(self.model.shape, lengths)
        return Workload(table, methods, lambda _: parts, self._agree)

    def _ours(self) -> Answered:
        seconds, answers, _ = self.sql.ask("ai.embed(x)", "embed_rows")
        flops = limits.issued(limits.embedding(self.model.shape, self.lengths))
        return Answered(seconds, sum(self.lengths), flops, np.array(answers, np.float32))

    def _encode(self, encoder: Any, rows: Sequence[str], size: int) -> Answered:
        started = time.perf_counter()
        if size == 1:
            vectors = np.stack([encoder.encode(text) for text in rows])
        else:
            vectors = encoder.encode(list(rows), batch_size=size, show_progress_bar=False)
        seconds = time.perf_counter() - started
        lengths = self.lengths[: len(rows)]
        flops = limits.issued(limits.embedding(self.model.shape, limits.padded(lengths, size)))
        tried = size if encoder is self.tuned and size > 1 else None
        return Answered(seconds, sum(lengths), flops, _unit(vectors), tried)

    @cached_property
    def _size(self) -> int:
        """The best batch size in our precision."""
        # The same rows for every size: `encode` sorts them by length before it cuts batches.
        some = self.rows[: max(SIZES[self.model.place])]
        return best_size(
            lambda size: len(self.tuned.encode(some, batch_size=size, show_progress_bar=False)),
            self.model.place,
            len(self.rows),
        )

    @cached_property
    def _exact(self) -> Vectors:
        """What `encode` gives in float32."""
        return _unit(self.plain.encode(self.rows, show_progress_bar=False))

    def _agree(self, _: Vectors, theirs: Vectors, __: str) -> dict[str, float]:
        """Cosines to the vectors of `encode` in float32."""
        cosines = (theirs * self._exact[: len(theirs)]).sum(axis=1)
        return {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean())}


def _unit(vectors: Any) -> Vectors:
    found: Vectors = np.array(vectors, np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found
