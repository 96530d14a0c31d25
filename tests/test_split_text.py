"""`ai.split_text`: chunks for search, in tokens."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sqlllm


@pytest.fixture(scope="module")
def minilm() -> Iterator[sqlllm.Connection]:
    with sqlllm.connect(models={"fake": sqlllm.FakeModel(lambda task, text: [1])}) as db:
        yield db


HOSTILE = st.lists(
    st.one_of(
        st.text(max_size=12).filter(lambda t: t.isprintable() or not t.isascii()),
        st.sampled_from(
            [
                "the ",
                "x" * 101,
                "\n\n",
                "\r\n",
                " \t ",
                "日本語",
                "e\u0301",
                "👨‍👩‍👧‍👦",
                "[SEP]",
                "Mr. ",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@settings(max_examples=20)
@given(
    text=HOSTILE,
    most=st.sampled_from([4, 5, 16, 64]),
    overlap=st.integers(0, 3),
    markdown=st.booleans(),
)
@pytest.mark.parametrize("model", ["minilm", "fake"])
def test_chunks_hold_the_whole_text(
    minilm: sqlllm.Connection, model: str, text: str, most: int, overlap: int, markdown: bool
) -> None:
    rows = minilm.execute(
        """SELECT c.chunk, c.start, c.end, c.tokens, $text[c.start + 1:c.end],
               ai.count_tokens(c.chunk, model := $model)
           FROM (SELECT unnest(ai.split_text($text, max_tokens := $most, overlap := $overlap,
               markdown := $markdown, model := $model)) AS c) ORDER BY c.start""",
        {"text": text, "model": model, "most": most, "overlap": overlap, "markdown": markdown},
    ).fetchall()
    at = 0
    for chunk, start, end, tokens, cut, counted in rows:
        assert chunk
        assert chunk == text[start:end] == cut
        assert tokens == counted <= most
        assert not text[at:start].strip()
        assert start >= at or overlap
        at = end
    assert not text[at:].strip()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ["One two. Three four five.\n\nSix"]),
        ("max_tokens := 3", ["One two.", "Three four five.", "Six"]),
        ("max_tokens := 2", ["One two.", "Three four", "five.\n\nSix"]),
        ("max_tokens := 3, overlap := 1", ["One two.", "Three four five.", "Six"]),
        ("max_tokens := 2, overlap := 1", ["One two.", "Three four", "four five.", "Six"]),
        ("max_tokens := 3, markdown := true", ["One two.", "Three four five.", "Six"]),
    ],
)
def test_chunks_end_where_sentences_do(
    db: sqlllm.Connection, fake: sqlllm.FakeModel, options: str, expected: list[str]
) -> None:
    text = "One two. Three four five.\n\nSix"
    comma = ", " if options else ""
    query = f"SELECT list_transform(ai.split_text($1{comma}{options}), lambda c: c.chunk)"
    assert db.execute(query, [text]).fetchone() == (expected,)
    assert fake.inputs == []


def test_sections_of_markdown_keep_their_headings(db: sqlllm.Connection) -> None:
    text = "# A\n\none two\n\n# B\n\nthree four\n"
    split = "ai.split_text($1, max_tokens := 6, markdown := {})"
    query = f"SELECT list_transform({split}, lambda c: c.chunk)"
    ((plain,),) = db.execute(query.format("false"), [text]).fetchall()
    ((sections,),) = db.execute(query.format("true"), [text]).fetchall()
    assert plain == ["# A\n\none two\n\n# B", "three four"]
    assert sections == ["# A\n\none two", "# B\n\nthree four"]


def test_null_and_nothing_to_split(db: sqlllm.Connection) -> None:
    query = "SELECT ai.split_text(x) FROM (VALUES (NULL), (''), (' \n'), ('a'), ('a')) t(x)"
    chunk = {"chunk": "a", "start": 0, "end": 1, "tokens": 1}
    assert [row[0] for row in db.execute(query).fetchall()] == [None, [], [], [chunk], [chunk]]
    none = "SELECT ai.split_text(x) FROM (SELECT 'a' AS x WHERE false)"
    assert db.execute(none).fetchall() == []
    assert db.sql("SELECT ai.split_text('a')").types == [
        'STRUCT(chunk VARCHAR, "start" BIGINT, "end" BIGINT, tokens BIGINT)[]'
    ]


def test_a_chunk_is_what_the_model_reads_unless_told(minilm: sqlllm.Connection) -> None:
    query = (
        "SELECT unnest(ai.split_text(repeat('word ', 600), model := 'minilm'), recursive := true)"
    )
    rows = minilm.execute(query).fetchall()
    assert [row[3] for row in rows] == [254, 254, 92]
    assert minilm.execute("SELECT len(ai.embed($1))", [rows[0][0]]).fetchone() == (384,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("ai.split_text('a', max_tokens := 0)", "max_tokens must be 1 or more, not 0"),
        ("ai.split_text('a', max_tokens := 2, overlap := 2)", "less than the 2 tokens.* not 2"),
        ("ai.split_text('a', overlap := -1)", "overlap must be 0 or more"),
        ("ai.split_text('a', markdown := 'false')", "markdown must be true or false, not 'false'"),
        ("ai.split_text('a', overlap := 0.5)", "overlap must be a whole number, not 0.5"),
        ("ai.split_text('어', max_tokens := 1, model := 'minilm')", "'어' has 2 tokens"),
        ("ai.split_text('a', chunk := 3)", "ai.split_text has no argument 'chunk'"),
    ],
)
def test_split_text_refuses(db: sqlllm.Connection, call: str, message: str) -> None:
    with pytest.raises(sqlllm.CallError, match=message):
        db.execute(f"SELECT {call}").fetchall()


def test_split_text_names_its_extra(db: sqlllm.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "semantic_text_splitter", None)
    with pytest.raises(sqlllm.ConfigError, match=r"pip install 'sqlllm\[search\]'"):
        db.execute("SELECT ai.split_text('a')").fetchall()
