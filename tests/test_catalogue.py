"""What each composed function asks, and what it makes of the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny import save

import sqlllm
from sqlllm.models.causal import CausalModel
from sqlllm.task import Task
from sqlllm.udfs.sentiment import SENTIMENTS


def asked(fn: Any, query: str) -> tuple[Any, sqlllm.FakeModel]:
    """The only value of a query, and the model that was asked."""
    fake = sqlllm.FakeModel(fn)
    with sqlllm.connect(models={"fake": fake}, model="fake", embed_model="fake") as db:
        ((value,),) = db.execute(f"SELECT {query}").fetchall()
    return value, fake


def test_sentiment_is_one_of_four() -> None:
    value, fake = asked(lambda task, text: "mixed", "ai.sentiment('so so')")
    assert value == "mixed"
    assert fake.tasks[0].labels == SENTIMENTS
    value, _ = asked(lambda task, text: {"negative": 0.6, "mixed": 0.4}, "ai.sentiment('bad')")
    assert value == "negative"


def test_sentiment_of_aspects_is_asked_at_once() -> None:
    value, fake = asked(
        lambda task, text: {"room": "positive", "price": None},
        "ai.sentiment('a lovely room', aspects := ['room', 'price'])",
    )
    assert json.loads(value) == {"room": "positive", "price": None}
    assert fake.inputs == ["a lovely room"]
    schema = json.loads(fake.tasks[0].schema)
    assert schema["required"] == ["room", "price"]
    assert schema["properties"]["price"] == {"enum": [*SENTIMENTS, None]}
    with pytest.raises(sqlllm.CallError, match="aspects must be a list of names"):
        asked(lambda task, text: {}, "ai.sentiment('x', aspects := [' '])")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("safe", {"flagged": False, "category": None, "score": 0.0}),
        ("hate", {"flagged": True, "category": "hate", "score": 1.0}),
        ({"safe": 0.9, "violence": 0.1}, {"flagged": False, "category": None, "score": 0.1}),
        (
            {"safe": 0.5, "violence": 0.2, "hate": 0.3},
            {"flagged": True, "category": "hate", "score": 0.5},
        ),
    ],
)
def test_moderate(answer: Any, expected: dict[str, Any]) -> None:
    value, fake = asked(lambda task, text: answer, "ai.moderate('x')")
    assert value == {**expected, "score": pytest.approx(expected["score"])}
    assert fake.tasks[0].none_of_these == fake.tasks[0].labels[-1] == "safe"
    value, _ = asked(
        lambda task, text: {"safe": 0.5, "hate": 0.5}, "ai.moderate('x', threshold := 0.6)"
    )
    assert value["flagged"] is False
    with pytest.raises(sqlllm.CallError, match="threshold must be above 0 and at most 1, not 2"):
        asked(lambda task, text: "safe", "ai.moderate('x', threshold := 2)")


def test_translate_and_fix_grammar_say_what_they_want() -> None:
    value, fake = asked(
        lambda task, text: text[::-1], "ai.translate('abc', 'French', source := 'German')"
    )
    assert value == "cba"
    assert fake.tasks[0].system.startswith("Translate the text from German into French.")
    assert fake.tasks[0].whole
    _, fake = asked(lambda task, text: text, "ai.fix_grammar('she go')")
    assert "grammar" in fake.tasks[0].system
    assert fake.tasks[0].whole
    for language in ("NULL", "' '"):
        with pytest.raises(sqlllm.CallError, match="the language to translate into is missing"):
            asked(lambda task, text: text, f"ai.translate('abc', {language})")


def test_answer_is_null_where_the_context_does_not_say() -> None:
    query = "ai.answer('Who?', 'Ann did.')"
    value, fake = asked(lambda task, text: {"answer": "Ann"}, query)
    assert value == "Ann"
    assert fake.inputs == ["Question: Who?\nContext: Ann did."]
    for nothing in (None, 5):  # not every model holds to the schema
        assert asked(lambda task, text, it=nothing: {"answer": it}, query)[0] is None
    tried, _ = asked(lambda task, text: {"answer": None}, query.replace("answer", "try_answer", 1))
    assert tried == {"value": None, "error": None}


def test_questions_from_a_column_are_one_batch(
    fake: sqlllm.FakeModel, db: sqlllm.Connection
) -> None:
    db.execute("SELECT ai.answer('q' || i, 'c' || i), ai.rerank('q' || i, 'c') FROM range(50) t(i)")
    assert fake.batches == [50, 50]


def test_rerank_sorts(db: sqlllm.Connection) -> None:
    rows = db.execute(
        "SELECT x FROM (VALUES ('bad'), ('good')) t(x) ORDER BY ai.rerank('?', x) DESC"
    ).fetchall()
    assert rows == [("good",), ("bad",)]


def test_several_labels_none_or_one() -> None:
    labels = "['a', 'b', 'c']"
    scores = {"a": 0.3, "b": 0.9, "c": 0.5}
    value, fake = asked(lambda task, text: scores, f"ai.classify_labels('x', {labels})")
    assert value == ["b", "c"]
    assert fake.tasks[0].multi
    query = f"ai.classify_labels('x', {labels}, threshold := 0.95)"
    assert asked(lambda task, text: scores, query)[0] == []
    query = f"ai.classify('x', {labels}, none_of_these := 'other')"
    value, fake = asked(lambda task, text: "other", query)
    assert value == "other"
    assert fake.tasks[0].labels == ("a", "b", "c", "other")
    with pytest.raises(sqlllm.CallError, match="the label 'a' is given twice"):
        asked(lambda task, text: "a", f"ai.classify('x', {labels}, none_of_these := 'a')")


def test_a_thousand_labels_and_no_more() -> None:
    query = "ai.classify('label 999', list_transform(range({}), lambda i: 'label ' || i))"
    assert asked(lambda task, text: text, query.format(1000))[0] == "label 999"
    with pytest.raises(sqlllm.CallError, match="1,001 labels are too many: at most 1,000"):
        asked(lambda task, text: text, query.format(1001))
    with sqlllm.connect() as db:
        assert db.execute(f"SELECT {query.format(1000)}").fetchone() == ("label 999",)


def test_minilm_finds_labels_or_none() -> None:
    with sqlllm.connect() as db:
        ((labels, none, fits),) = db.execute(
            "SELECT ai.classify_labels('My invoice is wrong and the app crashes', "
            "['billing and invoices', 'app crash', 'weather'], threshold := 0.2), "
            "ai.classify('I like turtles', ['billing', 'bug'], none_of_these := 'other'), "
            "ai.classify('wrong invoice, please correct my invoice', ['invoice', 'bug'], "
            "none_of_these := 'other')"
        ).fetchall()
    assert sorted(labels) == ["app crash", "billing and invoices"]
    assert (none, fits) == ("other", "invoice")


def test_a_text_too_long_for_minilm_fails_alone() -> None:
    with sqlllm.connect() as db:
        rows = db.execute(
            "SELECT ai.try_classify(x, ['invoice', 'bug']) FROM "
            "(VALUES (repeat('word ', 400)), ('my invoice')) t(x)"
        ).fetchall()
    assert "model 'minilm' reads at most 256" in rows[0][0]["error"]
    assert rows[1][0] == {"value": "invoice", "error": None}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    return CausalModel(save("llama", tmp_path_factory.mktemp("tiny")), dtype="float32")


def test_a_language_model_judges_each_label(tiny: CausalModel) -> None:
    labels = {"a": "the first", "b": None}
    task = Task("choose", labels=("a", "b"), descriptions=("the first", ""), multi=True)
    texts = ["red", "green", "a longer text than the others"]
    found: dict[int, Any] = {}
    for batch in tiny.choose(task, texts):
        found |= dict(zip(batch.rows, batch.answers, strict=True))
    for i, (label, about) in enumerate(labels.items()):
        question = f'Does the label "{label}"{f" ({about})" if about else ""} fit the text?'
        alone = Task("choose", labels=("yes", "no"), instruction=question)
        for batch in tiny.choose(alone, texts):
            for row, answer in zip(batch.rows, batch.answers, strict=True):
                assert found[row][i] == pytest.approx(answer[0], abs=1e-5)


def test_a_translation_that_is_cut_is_an_error(tiny: CausalModel) -> None:
    with sqlllm.connect(models={"tiny": tiny}, model="tiny") as db:
        rows = db.execute(
            "SELECT ai.try_translate(x, 'French', max_tokens := 2) FROM (VALUES ('a'), ('b')) t(x)"
        ).fetchall()
    assert all(row[0]["value"] is None for row in rows)
    assert all("the answer was cut at 2 tokens" in row[0]["error"] for row in rows)
