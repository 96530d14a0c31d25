"""Names in texts are found by a model, one call per text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from test_redact import detected, redacted

import sqlllm

NAMES = {
    "person": ["Ann Lee", "Nobody", " "],
    "place": ["Paris", "張偉"],
    "organisation": ["Acme", "EMAIL"],
}
TEXTS = [
    "Ann Lee of Acme, ann@acme.org, met ANN LEE in Paris, not in Parisian Acmes.",
    "張偉去了北京 with Ann\nLee",
    "12345",
    "",
    "no names here [EMAIL]",
]


def named(task: sqlllm.Task, text: str) -> Any:
    assert task.kind == "extract"
    if "fails" in text:
        raise sqlllm.ModelError("no answer")
    if "form" in text:
        return {"person": "Ann"}
    return {kind: NAMES[kind] for kind in json.loads(task.schema)["required"]}


@pytest.fixture
def namer() -> sqlllm.FakeModel:
    return sqlllm.FakeModel(named)


@pytest.fixture
def names(namer: sqlllm.FakeModel) -> Iterator[sqlllm.Connection]:
    with sqlllm.connect(models={"fake": namer}, model="fake") as con:
        yield con


def test_names_come_from_one_call_per_text_with_a_letter(
    names: sqlllm.Connection, namer: sqlllm.FakeModel
) -> None:
    assert (
        redacted(names, TEXTS * 2, ", entities := 'all'")
        == [
            "[PERSON] of [ORGANISATION], [EMAIL], met [PERSON] in [PLACE], not in Parisian Acmes.",
            "[PLACE]去了北京 with [PERSON]",
            "12345",
            "",
            "no names here [EMAIL]",
        ]
        * 2
    )
    assert sorted(namer.inputs) == sorted(text for text in TEXTS if text not in ("12345", ""))
    assert namer.batches == [3]
    (spans,) = detected(names, TEXTS[:1], ", entities := ['person', 'place']")
    assert [(s["entity"], s["text"]) for s in spans] == [
        ("person", "Ann Lee"), ("person", "ANN LEE"), ("place", "Paris"),
    ]  # fmt: skip
    (one,) = redacted(names, TEXTS[:1], ", entities := ['person'], mode := 'pseudonym'")
    assert one.split(" of ")[0] == one.split("met ")[1].split(" in ")[0]
    assert redacted(names, [None], ", entities := ['person']") == [None]  # type: ignore[list-item]


def test_calls_are_gathered_and_explained(
    names: sqlllm.Connection, namer: sqlllm.FakeModel
) -> None:
    names.execute("CREATE TABLE t AS SELECT 'Ann Lee ' || (i % 3000) AS x FROM range(6000) t(i)")
    query = "SELECT count(ai.redact(x, entities := ['person'])) FROM t"
    (call,) = names.explain(query).calls
    assert (call.distinct, call.send) == (3000, 3000)
    assert namer.inputs == []
    assert names.execute(query).fetchall() == [(6000,)]
    assert namer.batches == [3000]
    assert names.execute("SELECT rows, sent FROM ai.usage").fetchall() == [(6000, 3000)]
    (call,) = names.explain("SELECT ai.redact(x) FROM t").calls
    assert not call.send


@pytest.mark.parametrize("text", ["Ann Lee fails", "Ann Lee, in another form"])
@pytest.mark.parametrize("mode", ["mask", "detect", "pseudonym"])
def test_a_text_whose_model_fails_is_never_let_through(
    names: sqlllm.Connection, text: str, mode: str
) -> None:
    call = f"ai.redact(x, entities := ['person'], mode := '{mode}'"
    rows = f"FROM (VALUES ('{text}'), ('Bob')) t(x)"
    with pytest.raises(sqlllm.ModelError):
        names.execute(f"SELECT {call}) {rows}").fetchall()
    got = names.execute(f"SELECT {call}, on_error := 'null') {rows}").fetchall()
    assert got == [(None,), ("[]" if mode == "detect" else "Bob",)]
    tried = names.execute(f"SELECT {call.replace('.', '.try_', 1)}).error {rows}").fetchall()
    assert [error is not None for (error,) in tried] == [True, False]
    failed = names.execute("SELECT DISTINCT input, model FROM ai.errors").fetchall()
    assert failed == [(f"'{text}'", "fake")]


@pytest.mark.parametrize("rewrite", [True, False])
@pytest.mark.parametrize("views", ["true", "false"])
def test_rows_without_a_letter_are_rows_too(
    namer: sqlllm.FakeModel, views: str, rewrite: bool
) -> None:
    texts = ["Ann Lee", "12", None, "", "Ann Lee"]
    with sqlllm.connect(models={"fake": namer}, model="fake", rewrite=rewrite) as db:
        db.execute(f"SET produce_arrow_string_view = {views}")
        query = "SELECT ai.redact(x, entities := 'person') FROM (SELECT unnest($1) AS x)"
        rows = db.execute(query, [texts]).fetchall()
        assert rows == [("[PERSON]",), ("12",), (None,), ("",), ("[PERSON]",)]
        assert db.execute("SELECT rows, sent FROM ai.usage").fetchall() == [(5, 1)]
