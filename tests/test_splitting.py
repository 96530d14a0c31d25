from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sqlllm.splitting import split

TEXTS = st.text(alphabet="ab .!?\n\t。é🙂", max_size=200)


@given(TEXTS, st.integers(1, 20))
def test_split_keeps_every_character(text: str, most: int) -> None:
    parts = split(text, most, lambda texts: [len(t.encode()) for t in texts])
    assert "".join(parts) == text
    assert all(len(part.encode()) <= most or len(part) == 1 for part in parts)
    assert all(parts) or text == ""


def test_split_ends_where_sentences_do() -> None:
    count = lambda texts: [len(t.split()) for t in texts]  # noqa: E731
    text = "One two three. Four five!\n\nSix seven (eight.) Nine.\nTen"
    assert split(text, 5, count) == [
        "One two three. Four five!",
        "\n\nSix seven (eight.) Nine.\nTen",
    ]
    assert split(text, 3, count) == [
        "One two three.", " Four five!", "\n\nSix seven (eight.)", " Nine.\nTen",
    ]  # fmt: skip
