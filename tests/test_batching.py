"""Which rows go to a model together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlllm.engine.batching import by_tokens, windows


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 60), st.integers(1, 2))
def test_batches_are_of_all_rows_and_within_the_budget(
    sizes: list[int], budget: int, at_once: int
) -> None:
    lengths = dict(enumerate(sizes))
    found = list(by_tokens(lengths, budget, at_once))
    assert sorted(row for batch in found for row in batch) == list(lengths)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


def test_parts_are_of_all_texts_and_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlllm.engine.batching.WINDOW_ROWS", 3)
    monkeypatch.setattr("sqlllm.engine.batching.WINDOW_CHARACTERS", 10)
    texts = ["b" * 6, "a", "c" * 20, "a" * 4, "b", "aa", "a"]
    assert list(windows(texts)) == [[2], [0, 3], [5, 1, 4], [6]]
    assert list(windows(texts, by_text=True)) == [[1, 6, 5], [3, 4], [0], [2]]
