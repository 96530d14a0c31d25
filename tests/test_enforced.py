"""Forms that a model's tokens are held to, and those that can't be enforced."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from test_schema import LIMITS
from tiny import TEMPLATE, save, tokenizer

import sqlllm
from sqlllm.engine.enforceable import enforceable
from sqlllm.engine.prompt import choice_prompt, completion_prompt, form_of
from sqlllm.models.base import Batch
from sqlllm.models.causal import CausalModel
from sqlllm.runtime.checked import checked
from sqlllm.schema import read_form
from sqlllm.sqltypes import DATE


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> CausalModel:
    folder = save("llama", tmp_path_factory.mktemp("llama"), max_position_embeddings=1 << 14)
    return CausalModel(folder, dtype="float32")


@pytest.mark.parametrize(("name", "right", "wrong"), LIMITS)
def test_the_grammar_takes_what_is_valid_and_nothing_else(
    model: CausalModel, name: str, right: list[str], wrong: list[str]
) -> None:
    grammar = model._grammars.json(read_form(name).schema)
    for answer in [*right, *wrong]:
        assert takes(model, grammar, answer) == (answer in right), answer


def test_a_completion_with_a_schema_is_valid_or_an_error(model: CausalModel) -> None:
    form = read_form({"a": "VARCHAR(9)", "b": ["DATE"]})
    task = sqlllm.Task("complete", schema=form.schema, shown=form.shown, temperature=2.0,
                       max_tokens=200, system="Be brief.")  # fmt: skip
    batches = list(model.complete(task, [f"text {i}" for i in range(20)]))
    texts = [text for batch in batches for text in batch.answers]
    errors = [str(e) for batch in batches for e in batch.errors.values()]
    assert len(texts) + len(errors) == 20
    assert len(texts) > 10
    for text in texts:
        jsonschema.validate(json.loads(text), json.loads(form.schema))
    assert all("before it was JSON" in error for error in errors)


def test_the_schema_stands_in_the_system_message(
    model: CausalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    module = "sqlllm.engine.prompt.completion_prompt"
    monkeypatch.setattr(
        module,
        lambda t, system, **more: (seen.append(system), completion_prompt(t, system, **more))[1],
    )
    form = read_form({"a": "DATE"})
    for system in ("", "Be brief."):
        task = sqlllm.Task("complete", schema=form.schema, shown=form.shown, system=system)
        list(model.complete(task, ["x"]))
    assert seen == [form_of(task), f"Be brief.\n\n{form_of(task)}"]
    assert form_of(task).endswith('{"a": "YYYY-MM-DD"}')


@pytest.mark.parametrize(
    "without",
    [
        lambda t: "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + t,
        lambda t: t.replace("for m in messages", "for m in messages if m.role != 'system'"),
    ],
    ids=["refused", "left out"],
)
def test_a_template_without_system_messages_begins_the_turn_with_it(
    model: CausalModel, without: Callable[[str], str]
) -> None:
    tokenizer = model._tokenizer
    with_system = completion_prompt(tokenizer, "be brief")
    before = tokenizer.chat_template
    tokenizer.chat_template = without(before)
    try:
        prompt = completion_prompt(tokenizer, "be brief")
    finally:
        tokenizer.chat_template = before
    text = tokenizer.decode(prompt.head)
    assert text == "<|im_start|>user\nbe brief\n\n"
    assert tokenizer.decode(with_system.head).startswith("<|im_start|>system\nbe brief<|im_end|>")


@pytest.mark.parametrize("text_first", [False, True])
def test_a_question_has_the_turn_alone_of_what_a_template_writes(text_first: bool) -> None:
    tokens = tokenizer()
    tokens.bos_token = "<|im_end|>"
    task = sqlllm.Task("choose", labels=("yes", "no"), instruction="Good?", text_first=text_first)
    asked = "Text: " if text_first else "Question: Good?\n\nText: "
    kind = "<|im_start|>system\nBe kind.<|im_end|>\n"
    for template, before in (
        (kind + TEMPLATE, "<|im_start|>user\n"),  # SmolLM2's and Qwen's, by themselves
        ("{{ bos_token }}" + kind + TEMPLATE, "<|im_end|><|im_start|>user\n"),
        ("{{ messages[-1].content }}", ""),  # of which past turns can't be taken off
    ):
        tokens.chat_template = template
        assert tokens.decode(choice_prompt(tokens, task).head) == before + asked


REFUSED: list[dict[str, Any]] = [
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True},
    {"type": "array", "contains": {"const": 1}},
    {"not": {"type": "integer"}},
    {"if": {"type": "integer"}, "then": {"minimum": 3}},
    {"type": "object", "propertyNames": {"pattern": "^a"}},
    {"type": "object", "dependentRequired": {"a": ["b"]}},
    {"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2},
    {"type": "object", "unevaluatedProperties": False},
    {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "string", "pattern": "^[[a]]$"},
    {"type": "string", "pattern": "^[a&&b]$"},
    {"type": "string", "pattern": "^[a--b]$"},
    {"type": "string", "pattern": "^[a~~b]$"},
    {"type": "object", "patternProperties": {"^[[a]]$": {"type": "null"}}},
    {"type": "string", "format": "credit-card"},
    {"type": "integer", "maximum": 2**53 + 3},
    {"type": "integer", "minimum": 10**19, "maximum": 10**20},
    {"type": "array", "items": {"anyOf": [{"type": "integer", "minimum": -1e19}]}},
    {"type": "number", "minimum": -0.5, "exclusiveMaximum": 0},
    {"type": "number", "exclusiveMinimum": 2, "maximum": 2.75},
    {"type": "object", "properties": {"a\n": {"type": "null"}}},
    {"type": "string", "x-guidance": {"lenient": True}, "not": {}},
    {"type": "string", "enum": ["\ud800"]},
]


@pytest.mark.parametrize("schema", REFUSED, ids=json.dumps)
def test_what_cannot_be_enforced_is_refused(model: CausalModel, schema: dict[str, Any]) -> None:
    with pytest.raises(sqlllm.CallError, match="the schema can't be enforced: "):
        model._grammars.json(json.dumps(schema))


def test_a_form_that_is_nested_too_deeply(model: CausalModel, db: sqlllm.Connection) -> None:
    def lists(depth: int) -> str:
        return '{"type": "array", "items": ' * depth + '{"type": "null"}' + "}" * depth

    for depth in (300, 900):
        with pytest.raises(sqlllm.CallError, match=r"the schema can't be enforced: .*recursion"):
            model._grammars.json(lists(depth))
    row = db.execute("SELECT unnest(ai.try_extract('x', $1))", [lists(5000)]).fetchone()
    assert row == (None, "the schema is nested too deeply")
    task = sqlllm.Task("complete", schema='{"type": "array"}')
    wrong = checked("mine", task, Batch([0], ["[" * 100_000]), {0}).errors[0]
    assert str(wrong).endswith("is no JSON")


def test_an_error_of_the_engine_has_nothing_of_the_answer(model: CausalModel) -> None:
    task = sqlllm.Task("complete", pattern=".*" * 500, max_tokens=5)
    ((error,),) = [batch.errors.values() for batch in model.complete(task, ["a"]) if batch.errors]
    assert "Tokens:" not in str(error)


# A schema, and answers that aren't valid.
ENFORCED: list[tuple[dict[str, Any], list[str]]] = [
    ({"type": "object", "minProperties": 1}, ["{}"]),
    ({"type": "string", "pattern": "^ab$", "maxLength": 3}, ['"abx"', '"a"']),
    ({"type": "string", "pattern": "^a|b$"}, ['"xa"', '"bx"']),
    ({"type": "string", "pattern": "^[\\[\\]a]$"}, ['"&"']),
    ({"type": "string", "pattern": "^[a-c]*$", "minLength": 3}, ['"ab"', '"abx"']),
    ({"type": "string", "format": "date"}, ['"2023-02-29"', '"2024-13-01"']),
    ({"type": "string", "format": "ipv4"}, ['"1.2.3.400"']),
    ({"type": "integer", "multipleOf": 7}, ["15"]),
    ({"type": "number", "multipleOf": 0.01}, ["0.075"]),
    ({"type": "number", "exclusiveMinimum": 2, "maximum": 3}, ["2", "2.0"]),
    ({"properties": {"ab": {"type": "integer"}}, "patternProperties": {"^a": {"type": "string"}},
      "type": "object"}, ['{"ab": 1}', '{"ab": "x"}']),
    ({"type": "array", "prefixItems": [{"type": "null"}], "items": False}, ["[1]", "[null, 1]"]),
    ({"$ref": "#/$defs/a", "maximum": 3, "$defs": {"a": {"type": "integer"}}}, ["4", '"a"']),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 5}]}, ["2", "6"]),
    ({"enum": ["abc", "d"], "maxLength": 1}, ['"abc"']),
]  # fmt: skip


def takes(model: CausalModel, grammar: Any, answer: str) -> bool:
    """Whether a grammar lets an answer through, and end there."""
    matcher = grammar.rule().matcher
    tokens = model._tokenizer.encode(answer, add_special_tokens=False)
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


@pytest.mark.parametrize(("schema", "wrong"), ENFORCED)
def test_keywords_are_enforced(
    model: CausalModel, schema: dict[str, Any], wrong: list[str]
) -> None:
    checker = jsonschema.FormatChecker()
    validator = jsonschema.Draft202012Validator(schema, format_checker=checker)
    grammar = model._grammars.json(json.dumps(schema))
    for answer in wrong:
        assert not validator.is_valid(json.loads(answer))
        assert not takes(model, grammar, answer)


@pytest.mark.parametrize("word", ["enum", "const", "default", "examples"])
def test_values_are_no_schemas(word: str) -> None:
    value = [{"format": "date", "minimum": 1e19}]
    assert enforceable({word: value}) == {word: value}


@pytest.mark.parametrize("word", ["properties", "patternProperties", "$defs", "definitions"])
def test_names_are_no_keywords(word: str) -> None:
    date = {"format": "date", "allOf": [{"minLength": 3}]}
    made = enforceable({word: {"const": date, "x-guidance": {}}})
    assert made[word]["const"] == date | {"allOf": [{"minLength": 3}, {"pattern": DATE}]}


def test_a_date_and_time_is_of_a_day_that_exists(model: CausalModel) -> None:
    grammar = model._grammars.json('{"type": "string", "format": "date-time"}')
    assert takes(model, grammar, '"2024-02-29T00:00:00Z"')
    assert not takes(model, grammar, '"2023-02-29T00:00:00Z"')


def test_bounds_of_numbers_hold(model: CausalModel) -> None:
    """Random bounds: what the grammar takes is within them."""
    draw = random.Random(0)
    quarters = [Decimal(n) / 4 for n in range(-14, 15)]
    made = 0
    for _ in range(150):
        low, high = sorted(draw.sample(quarters, 2))
        schema = {"type": "number", draw.choice(["minimum", "exclusiveMinimum"]): float(low)}
        schema |= {draw.choice(["maximum", "exclusiveMaximum"]): float(high)}
        schema |= draw.choice([{}, {"multipleOf": 0.25}])
        try:
            enforceable(schema)
            grammar = model._grammars.json(json.dumps(schema))
        except sqlllm.CallError:
            continue
        made += 1
        validator = jsonschema.Draft202012Validator(schema)
        for number in [*draw.sample(quarters, 8), low, high, Decimal(0)]:
            for text in {str(number), f"{number:.2f}", "-0" if not number else str(number)}:
                if takes(model, grammar, text):
                    assert validator.is_valid(float(text)), (schema, text)
    assert made > 75
