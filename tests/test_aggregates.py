from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlllm.rewrite.aggregates import aggregates


@pytest.mark.parametrize(
    ("call", "opened"),
    [
        ("ai.agg(x, 'i')", "ai.agg(x, 'i')"),
        ("AI.Agg(DISTINCT x, 'i')", "ai._agg(list(DISTINCT x), 'i')"),
        (
            "ai.agg(f(x, ',('), ['a', 'b'][1] ORDER BY g(y, 2) DESC, z)",
            "ai._agg(list(f(x, ',(') ORDER BY g(y, 2) DESC, z), ['a', 'b'][1], in_order := true)",
        ),
        (
            "ai.agg(/* c, */ DISTINCT x -- a\n, 'i' /* ) */) FILTER (WHERE a)",
            "ai._agg(list(DISTINCT x) FILTER (WHERE a), 'i')",
        ),
        (
            "ai.agg(DISTINCT (SELECT ai.agg(DISTINCT y, 'j') FROM u LIMIT 1), 'i')",
            "ai._agg(list(DISTINCT (SELECT ai._agg(list(DISTINCT y), 'j') FROM u LIMIT 1)), 'i')",
        ),
        (
            "ai.summarize_agg(x) OVER w, ai.agg(x, 'i') filter, over",
            "ai._summarize_agg(list(x) OVER w), ai.agg(x, 'i') filter, over",
        ),
        ("x.ai.agg(DISTINCT x, 'i')", "x.ai.agg(DISTINCT x, 'i')"),
        ("'ai.agg(DISTINCT x)' -- ai.agg(x ORDER", "'ai.agg(DISTINCT x)' -- ai.agg(x ORDER"),
        ("ai.agg(DISTINCT", "ai.agg(DISTINCT"),
        ("ai.agg(x,, 'i' ORDER BY x)", "ai.agg(x,, 'i' ORDER BY x)"),
    ],
)  # fmt: skip
def test_opened_text(call: str, opened: str) -> None:
    assert aggregates(f"SELECT {call}") == f"SELECT {opened}"


@given(st.lists(st.sampled_from(["DISTINCT", "x", ",", "(", ")", "ORDER BY", "FILTER", "OVER", "'",
                                 "ai.agg(", ":=", "[", "--", "\n", "text", "$$"])))  # fmt: skip
def test_any_text_can_be_opened(words: list[str]) -> None:
    made = aggregates("SELECT ai.agg(" + " ".join(words))
    assert aggregates(made) == made
