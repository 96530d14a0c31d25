"""`__ai_candidates`: the pairs that are worth asking about, of all pairs of two lists of texts."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sqlllm.call import Call, Origin
from sqlllm.errors import CallError
from sqlllm.function import set_function
from sqlllm.runtime.answers import to_numpy
from sqlllm.task import MOST_LABELS, YES_NO, Task
from sqlllm.udfs.classify import likeliest
from sqlllm.udfs.score import holds

SAMPLE = 16  # left texts on which recall is measured
NEAREST, FARTHER = 32, 32  # right texts that each is asked about: the first, and some of the rest

Matrix = np.ndarray[tuple[int, int], np.dtype[Any]]


@set_function(
    "STRUCT(lefts VARCHAR[], rights VARCHAR[], pair VARCHAR)",
    "VARCHAR",
    returns="STRUCT(a VARCHAR, b VARCHAR)[]",
)
def candidates(origin: Origin, sides: Mapping[str, Any], packed: str) -> list[dict[str, str]]:
    """Pairs of a text of `lefts` and one of `rights`, each at most once."""
    lefts, rights = sorted(sides["lefts"] or []), sorted(sides["rights"] or [])
    given = json.loads(packed)
    if not lefts or not rights:
        return []
    call = Call(origin, "filter", json.loads(given["options"]))
    if given["strategy"] == "classify":
        chosen = _chosen(origin, call, given["relation"], lefts, rights)
        return [{"a": a, "b": b} for a, b in zip(lefts, chosen, strict=True) if b is not None]
    nearest = _nearest(origin, lefts, rights)
    pairs = _Pairs(call, sides["pair"], lefts, rights, nearest)
    k = _enough(pairs, _recall(given["recall"]))
    return [{"a": lefts[i], "b": rights[j]} for i, row in enumerate(nearest) for j in row[:k]]


def _recall(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        msg = f"recall must be above 0 and at most 1, not {value!r}"
        raise CallError(msg)
    return float(value)


def _chosen(
    origin: Origin, call: Call, relation: str, lefts: list[str], rights: list[str]
) -> list[str | None]:
    """For each left text the most probable of the right ones."""
    labels = tuple(text for text in rights if text.strip())
    if len(labels) > MOST_LABELS:
        msg = f"strategy 'classify' chooses among at most {MOST_LABELS} texts, not {len(labels)}"
        raise CallError(msg, hint="write strategy := 'blocking'")
    if not labels:
        return [None] * len(lefts)
    model = call.model_for(Task("choose", labels=YES_NO)).name  # also where none is named
    choosing = Call(origin, "classify", {**call.options, "model": model})
    task = choosing.task(
        kind="choose",
        labels=labels,
        instruction=f"Choose the text B for which this holds with text A: {relation}",
    )
    chosen: list[str | None] = likeliest(choosing, task, pa.array(lefts, pa.string())).to_pylist()
    return chosen


def _nearest(origin: Origin, lefts: list[str], rights: list[str]) -> Matrix:
    """The right texts of each left one, by cosine similarity of their embeddings."""
    call = Call(origin, "embed", {"truncate": True, "on_error": "fail"})  # each needs a vector
    sides = []
    for texts in (lefts, rights):
        answers = call.run(call.task(kind="embed"), pa.array(texts, pa.string()))
        vectors = answers.dictionary.flatten().to_numpy().reshape(len(answers.dictionary), -1)
        sides.append(vectors[answers.indices.to_numpy()])
    a, b = sides
    blocks = np.array_split(a, max(1, len(a) * len(b) >> 24))  # of at most 64 MB of scores
    return np.concatenate([np.argsort(-(block @ b.T), axis=1, kind="stable") for block in blocks])


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of each left text, the nearest right text first."""

    call: Call
    template: str
    lefts: list[str]
    rights: list[str]
    nearest: Matrix

    def match(self, rows: list[int], ranks: list[int]) -> Matrix:
        """Whether the left texts `rows` match their right texts of these ranks."""
        before, _, rest = self.template.partition("\1")
        between, _, after = rest.partition("\2")
        texts = [
            f"{before}{self.lefts[i]}{between}{self.rights[j]}{after}"
            for i in rows
            for j in self.nearest[i, ranks]
        ]
        yes = holds(self.call, pa.array(texts, pa.string())).fill_null(False)
        return to_numpy(yes).reshape(len(rows), len(ranks))


def _enough(pairs: _Pairs, recall: float) -> int:
    """How many of the nearest to ask about so that a sample keeps `recall` of its matches.

    Each text of the sample is asked about its nearest ones and about some of the farther, which
    stand for all of those. While too many matches lie farther, the nearest are doubled.
    """
    (texts, total), draw = pairs.nearest.shape, random.Random(0)
    sample = draw.sample(range(texts), min(SAMPLE, texts))
    near = min(NEAREST, total)
    while True:
        far = draw.sample(range(near, total), min(FARTHER, total - near))
        found = pairs.match(sample, [*range(near), *far])
        farther = found[:, near:].sum() * (total - near) / max(len(far), 1)
        kept = np.cumsum(found[:, :near].sum(axis=0))
        matches = kept[-1] + farther
        enough = np.flatnonzero(kept >= recall * matches)
        if len(enough) or near == total:
            k = int(enough[0]) + 1 if matches and len(enough) else near
            logging.getLogger("sqlllm.join").info(
                "blocking: the %d nearest of %d; %d texts sampled", k, total, len(sample)
            )
            return k
        near = min(2 * near, total)
