"""Random forms, answered by random weights: every answer is valid and casts."""

from __future__ import annotations

import json
import os
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from forms import duckdb_type, json_schema
from tiny import save

import sqlllm
from sqlllm.schema import read_form

FORMS = int(os.environ.get("SQLLLM_FORMS", "100"))  # of each kind; 1,000 take ten minutes
MOST = 900  # tokens: some forms, such as maps, have no end


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("llama")
    return save("llama", where, max_position_embeddings=1 << 16, num_hidden_layers=1)


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


def answers(folder: Path, forms: list[str], most: int = MOST) -> tuple[dict[int, str], list[str]]:
    """The answers by the number of the form, and why others have none."""
    with sqlllm.connect(models={"tiny": f"hf:{folder}"}, model="tiny", cache="off") as db:
        db.execute("CREATE TABLE forms (i INTEGER, form VARCHAR)")
        db.executemany("INSERT INTO forms VALUES ($1, $2)", list(enumerate(forms)))
        rows = db.execute(
            "SELECT i, ai.extract('text ' || i, form, max_tokens := $1, temperature := 2, "
            "on_error := 'null') FROM forms",
            [most],
        ).fetchall()
        errors = [row[0] for row in db.execute("SELECT message FROM ai.errors").fetchall()]
    return {i: answer for i, answer in rows if answer is not None}, errors


def check(found: dict[int, str], errors: list[str], total: int) -> None:
    assert len(found) + len(errors) == total
    assert len(found) >= 0.95 * total
    for error in errors:
        assert f"cut at max_tokens={MOST} before it was JSON" in error


def test_answers_to_random_json_schemas_are_valid(folder: Path) -> None:
    draw = random.Random(1)
    schemas = [json_schema(draw) for _ in range(FORMS)]
    found, errors = answers(folder, [json.dumps(schema) for schema in schemas])
    check(found, errors, FORMS)
    for i, answer in found.items():
        validator = jsonschema.Draft202012Validator(exact(json.dumps(schemas[i])))
        validator.validate(exact(answer))
    assert len(set(found.values())) > 0.7 * FORMS


def test_answers_to_random_duckdb_types_are_valid_and_cast(folder: Path) -> None:
    draw = random.Random(2)
    forms = [duckdb_type(draw) for _ in range(FORMS)]
    found, errors = answers(
        folder, [form if isinstance(form, str) else json.dumps(form) for form, _ in forms]
    )
    check(found, errors, FORMS)
    with sqlllm.connect() as db:
        for i, answer in found.items():
            form, name = forms[i]
            jsonschema.Draft202012Validator(exact(read_form(form).schema)).validate(exact(answer))
            db.execute(
                f"CREATE OR REPLACE TABLE t AS SELECT CAST($1::JSON AS {name}) AS v", [answer]
            )


def test_numbers_without_bounds_are_finite_or_errors(folder: Path) -> None:
    """No grammar here bounds an exponent: it is looked at afterwards."""
    name = "STRUCT(a DOUBLE, b FLOAT)"
    found, errors = answers(folder, [name] * 80)
    assert len(found) + len(errors) == 80
    assert len(found) > 10
    with sqlllm.connect() as db:
        for answer in found.values():
            (value,) = db.execute(f"SELECT CAST($1::JSON AS {name})", [answer]).fetchone()
            assert all(abs(value[field] or 0) < 3.5e38 for field in "ab")
    assert any("has the number" in error and "too large" in error for error in errors)


def test_a_name_given_twice_is_an_error(folder: Path) -> None:
    """No grammar remembers which names an object has had."""
    twice = {"type": "object", "patternProperties": {"^a$": {"type": "boolean"}},
             "additionalProperties": False, "minProperties": 2, "maxProperties": 2}  # fmt: skip
    found, errors = answers(folder, [json.dumps(twice)])
    assert not found
    assert "has the name 'a' twice" in errors[0]
