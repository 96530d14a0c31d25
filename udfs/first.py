"""`__ai_first`: the first rows for which all predicates hold, asking no more than it must."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqlllm.call import Call, Origin
from sqlllm.function import set_function
from sqlllm.udfs.score import holds

FIRST_ROUND, LARGEST_ROUND = 64, 1 << 16  # rows, where no LIMIT gives a better start
EVIDENCE = 16  # rows asked of a predicate before its selectivity counts


@dataclass(slots=True)
class _Predicate:
    """One AI predicate, and what has been learned of it."""

    call: Call
    texts: pa.Array
    negated: bool
    cost: float  # of one row: its length, for want of better
    asked: int = 0
    passed: int = 0

    @property
    def selectivity(self) -> float:
        """The part of the rows that passes, by Laplace's rule."""
        return (self.passed + 1) / (self.asked + 2)

    @property
    def rank(self) -> float:
        """Cost per row ruled out (Hellerstein and Stonebraker, Predicate Migration, 1993)."""
        return self.cost / (1 - self.selectivity)

    def passing(self, rows: Sequence[int]) -> list[int]:
        """Those of `rows` for which it holds."""
        asked = pa.array(rows, pa.int64())
        answers = holds(self.call, self.texts.take(asked))
        self.asked += len(rows)
        found: list[int] = asked.filter(pc.equal(answers, not self.negated)).to_pylist()
        self.passed += len(found)
        return found


@set_function(
    "BIGINT",
    "STRUCT(texts VARCHAR[], options VARCHAR, negated BOOLEAN)[]",
    returns="BIGINT[]",
)
def first(origin: Origin, wanted: int | None, entries: Any) -> list[int]:
    """Numbers, from 1, of the first `wanted` rows (None: of all) for which all predicates hold."""
    predicates = [_predicate(origin, entry) for entry in entries]
    total = min((len(p.texts) for p in predicates), default=0)
    hits: list[int] = []
    at, size = 0, wanted or FIRST_ROUND
    while at < total and (wanted is None or len(hits) < wanted):
        rows: Sequence[int] = range(at, min(at + size, total))
        at = rows[-1] + 1
        for predicate in _in_order(predicates):
            rows = predicate.passing(rows) if rows else rows
        hits += rows
        size = _next_round(at, len(hits), wanted)
    return [row + 1 for row in hits[:wanted]]


def _in_order(predicates: list[_Predicate]) -> list[_Predicate]:
    """The cheaper first, until enough has been asked of each to know how selective they are."""
    if any(predicate.asked < EVIDENCE for predicate in predicates):
        return sorted(predicates, key=lambda predicate: predicate.cost)
    return sorted(predicates, key=lambda predicate: predicate.rank)


def _next_round(asked: int, found: int, wanted: int | None) -> int:
    """Rows to ask next: what should suffice, and never more than have been asked before."""
    if wanted is None:
        return min(asked * 3, LARGEST_ROUND)
    missing = max(wanted - found, 1)
    enough = -(-missing * asked // found) if found else asked
    return max(1, min(enough, asked, LARGEST_ROUND))


def _predicate(origin: Origin, entry: Any) -> _Predicate:
    call = Call(origin, "filter", json.loads(entry["options"].as_py()))
    texts = entry["texts"].values
    texts = pa.array([], pa.string()) if texts is None else texts
    cost = pc.mean(pc.binary_length(texts)).as_py() or 0.0
    return _Predicate(call, texts, bool(entry["negated"].as_py()), cost)
