"""Forms of answers: DuckDB types, JSON Schema, what is refused, and what they cast to."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sqlllm
from sqlllm.schema import is_json_schema, read_form
from sqlllm.sqltypes import DATE, PATTERNS

INVOICE = {
    "name": "VARCHAR",
    "amount": "DECIMAL(10,2)",
    "due": "DATE",
    "tags": ["VARCHAR"],
    "status": "ENUM('low','high')",
    "address": {"city": "VARCHAR", "zip": "VARCHAR(5)"},
    "items": [{"sku": "VARCHAR", "qty": "INTEGER"}],
}


def schema_of(form: object, descriptions: object = None) -> Any:
    return json.loads(read_form(form, descriptions).schema)


def test_a_struct_of_types_becomes_json_schema() -> None:
    schema = schema_of(INVOICE)
    fields = schema["properties"]
    assert list(fields) == schema["required"] == list(INVOICE)
    assert schema["additionalProperties"] is False
    assert fields["name"] == {"type": ["string", "null"]}
    assert fields["amount"] == {
        "type": ["number", "null"],
        "minimum": -99999999.99,
        "maximum": 99999999.99,
        "multipleOf": 0.01,
    }
    assert fields["status"] == {"enum": ["low", "high", None]}
    assert fields["address"]["properties"]["zip"] == {"type": ["string", "null"], "maxLength": 5}
    assert fields["tags"] == {"type": ["array", "null"], "items": {"type": "string"}}
    assert fields["items"]["items"]["required"] == ["sku", "qty"]
    assert read_form(INVOICE).shown == (
        '{"name": string, "amount": number, "due": "YYYY-MM-DD", "tags": [string, ...], '
        '"status": "low" or "high", "address": {"city": string, "zip": string of at most 5 '
        'characters}, "items": [{"sku": string, "qty": integer}, ...]}'
    )


# A type, JSON that it takes, and JSON that it doesn't.
LIMITS = [
    ("TINYINT", ["-128", "127", "null"], ["-129", "128", "1.5", '"1"', "true"]),
    ("UINTEGER", ["0", "4294967295"], ["-1", "4294967296"]),
    ("BIGINT", ["-9223372036854774784", "9223372036854774784"], ["9223372036854775808"]),
    ("UBIGINT", ['"18446744073709551615"', '"0"', '"10"'], ['"18446744073709551616"', '"-1"', "7"]),
    ("HUGEINT", [f'"{2**127 - 1}"', f'"{-(2**127)}"'],
     [f'"{2**127}"', f'"{-(2**127) - 1}"', '"-0"']),
    ("UHUGEINT", [f'"{2**128 - 1}"'], [f'"{2**128}"', '"-1"']),
    ("DECIMAL(4,1)", ["999.9", "-999.9", "0.1", "7"], ["1000", "0.15"]),
    ("DECIMAL(3,0)", ["999", "-999"], ["1000", "0.5"]),
    ("DECIMAL(2,2)", ["0.99", "-0.01"], ["1", "0.999"]),
    ("DECIMAL(15,11)", ['"9999.99999999999"', '"-1"'], ['"10000"', '"0.999999999999"', '"1."']),
    ("DECIMAL(38,38)", ['"0.5"', '"0"'], ['"1"', '"01.5"']),
    ("DECIMAL(38,0)", [f'"{"9" * 38}"'], [f'"{"9" * 39}"', '"1.5"']),
    ("DOUBLE", ["1.5e300", "-0.1"], ['"1"']),
    ("BOOLEAN", ["true", "false", "null"], ["0", '"true"']),
    ("DATE", ['"2024-02-29"', '"2000-02-29"', '"0001-01-01"'],
     ['"2023-02-29"', '"1900-02-29"', '"2024-02-30"', '"2024-04-31"', '"0000-01-01"',
      '"24-1-1"', '"2024-01-01T00:00:00"']),
    ("TIME", ['"23:59:59"', '"00:00:00.123456"'], ['"24:00:00"', '"12:60:00"', '"12:30"']),
    ("TIMESTAMP", ['"2024-02-29T23:59:59"', '"2024-02-29 00:00:00.5"'],
     ['"2023-02-29T00:00:00"', '"2024-02-29"', '"2024-02-29T00:00:00Z"']),
    ("TIMESTAMPTZ", ['"2024-02-29T23:59:59Z"', '"2024-02-29T23:59:59-14:00"'],
     ['"2024-02-29T23:59:59"', '"2024-02-29T23:59:59+15:00"']),
    ("UUID", ['"123e4567-E89B-12d3-a456-426614174000"'], ['"123e4567e89b12d3a456426614174000"']),
    ("ENUM('a', 'it''s')", ['"a"', '"it\'s"', "null"], ['"b"', '"A"']),
    ("VARCHAR(2)", ['"üü"', '""'], ['"abc"']),
    ("STRUCT(a TEXT(1), \"VARCHAR(9)\" CHAR (2))",
     ['{"a": "x", "VARCHAR(9)": null}'], ['{"a": "xx", "VARCHAR(9)": null}', '{"a": "x"}']),
    ("ENUM('VARCHAR(3)')", ['"VARCHAR(3)"'], ['"abc"']),
    ("FLOAT[2]", ["[1, 2.5]", "null"], ["[1]", "[1, 2, 3]", "[1, null]"]),
    ("INTEGER[]", ["[]", "[1, 2]"], ["null", '["a"]']),
    ("VARCHAR(1)[2][]", ["[]", '[["a", "b"]]'], ['["a"]', '[["a", "bc"]]']),
    ("MAP(VARCHAR, DATE)", ["{}", '{"a": "2024-01-01"}'], ["null", '{"a": "2024"}', '{"a": null}']),
    ("STRUCT(a JSON)", ['{"a": [1, {"b": null}]}', '{"a": null}'], ["{}"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong"), LIMITS)
def test_what_is_valid_casts(name: str, right: list[str], wrong: list[str]) -> None:
    schema = read_form(name).schema
    validator = jsonschema.Draft202012Validator(json.loads(schema, parse_float=Decimal))
    with sqlllm.connect() as db:
        for answer in right:
            validator.validate(json.loads(answer, parse_float=Decimal))
            fields = f"STRUCT(v {name})"  # DuckDB 1.4.0 casts JSON to ENUM in a struct only
            query = (
                f"CREATE OR REPLACE TABLE t AS SELECT CAST($1::JSON AS {fields}).v::VARCHAR AS v"
            )
            db.execute(query, [f'{{"v": {answer}}}'])
            (value,) = db.execute("FROM t").fetchone()
            assert (value is None) == (answer == "null")
            if re.match("DECIMAL|U?HUGEINT|UBIGINT|BIGINT", name) and value is not None:
                assert Decimal(value) == Decimal(answer.strip('"'))
    for answer in wrong:
        assert not validator.is_valid(json.loads(answer, parse_float=Decimal)), answer


def test_only_days_that_exist() -> None:
    day = re.compile(DATE)
    for year in (1, 99, 1900, 1999, 2000, 2023, 2024, 2100, 9999):
        exist = {date(year, 1, 1) + timedelta(days=i) for i in range(365)} | {date(year, 12, 31)}
        for month in range(14):
            for number in range(33):
                text = f"{year:04}-{month:02}-{number:02}"
                assert bool(day.search(text)) == (text in {d.isoformat() for d in exist}), text


@given(st.integers(0, 2**130), st.sampled_from([("UBIGINT", 2**64 - 1), ("HUGEINT", 2**127 - 1)]))
def test_large_integers_have_their_range(number: int, kind: tuple[str, int]) -> None:
    pattern = schema_of(kind[0])["pattern"]
    for n in (number, number % (kind[1] + 7), kind[1] - number % 1000, kind[1] + number % 1000):
        assert bool(re.search(pattern, str(n))) == (n <= kind[1])


@pytest.mark.parametrize(
    ("form", "message", "hint"),
    [
        ({"a": {"b": "VARCAHR"}}, "'a.b' has the unknown type 'VARCAHR'", "did you mean `varchar`"),
        ("STRUCT(a INTEGR[])", "unknown type 'INTEGR'", "did you mean `integer`"),
        ({"a": "mood"}, "'a' has the unknown type 'mood'", "known are `bigint`"),
        ({"a": ["BLOB"]}, "'a[]' has the type BLOB, which has no form in JSON", "take VARCHAR"),
        ({"a": [{"b": "INTERVAL"}]}, "'a[].b' has the type INTERVAL", "days or seconds"),
        ("STRUCT(a UNION(x INTEGER, y DATE))", "'a' has the type UNION(x INTEGER", "take a STRUCT"),
        ({"a": "TIMESTAMP_NS"}, "'a' has the type TIMESTAMP_NS", "take TIMESTAMP"),
        ({"a": "MAP(INTEGER, DATE)"}, "'a' is a MAP whose keys are INTEGER", "MAP(VARCHAR"),
        ({"a": "DECIMAL(50,2)"}, "'a' is no DuckDB type: 'DECIMAL(50,2)' (", "DECIMAL(10,2)"),
        ({"a": "INTEGER; SELECT 1"}, "'a' is no DuckDB type: 'INTEGER; SELECT 1'", "JSON Schema"),
        ({"a": ""}, "'a' is no DuckDB type: ''", "JSON Schema"),
        ({"a": ["INTEGER", "DATE"]}, "a list has one type for all its values; 'a' has", "write"),
        ({"a": None}, "'a' must be a DuckDB type, not NULL", "write"),
        ({"a": 5}, "'a' must be a DuckDB type, not 5", "write"),
        ({}, "the schema must be a DuckDB type, not {}", "write"),
        ({"a": "DATE", "A": "DATE"}, "the fields 'a' and 'A', which are one to DuckDB", "another"),
    ],
)
def test_types_that_are_refused(form: object, message: str, hint: str) -> None:
    with pytest.raises(sqlllm.CallError) as caught:
        read_form(form)
    text, _, hinted = str(caught.value).partition("\nHint: ")
    assert message in text
    assert hint in hinted


@pytest.mark.parametrize(
    ("form", "is_schema"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}}, True),
        ({"type": "integer"}, True),
        ({"type": ["integer", "null"]}, True),
        ({"properties": {"a": {"type": "integer"}}}, True),
        ({"items": {"type": "integer"}}, True),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
        ({"enum": ["a", "b"]}, True),
        ({"enum": [1]}, True),
        ({"const": 5}, True),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}, True),
        ({"type": "VARCHAR"}, False),
        ({"type": "INTEGER", "items": ["VARCHAR"]}, False),
        ({"type": ["VARCHAR"]}, False),
        ({"type": {"type": "VARCHAR"}}, False),
        ({"properties": {"colour": "VARCHAR", "size": "DOUBLE"}}, False),
        ({"enum": ["VARCHAR"], "const": "DATE", "items": [{"sku": "VARCHAR"}]}, False),
    ],
)
def test_json_schema_or_types(form: Any, is_schema: bool) -> None:
    assert is_json_schema(form) == is_schema
    made = read_form(form)
    if is_schema:
        assert (json.loads(made.schema), made.shown) == (form, "")
    else:
        assert list(json.loads(made.schema)["properties"]) == list(form)


def test_descriptions() -> None:
    form = read_form(INVOICE, {"amount": "in euros", "address": {"city": "a town"},
                               "items": {"qty": "how many"}, "due": None})  # fmt: skip
    fields = json.loads(form.schema)["properties"]
    assert fields["amount"]["description"] == "in euros"
    assert fields["address"]["properties"]["city"]["description"] == "a town"
    assert fields["items"]["items"]["properties"]["qty"]["description"] == "how many"
    assert '"amount": number (in euros)' in form.shown
    assert '"qty": integer (how many)' in form.shown
    given = {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "null"}}}}
    made = schema_of(json.dumps(given), {"a": "nothing"})
    assert made["items"]["properties"]["a"] == {"type": "null", "description": "nothing"}
    for wrong, message in (
        ({"amonut": "x"}, "the schema has no field 'amonut' to describe\nHint: did you mean"),
        ({"address": {"town": "x"}}, "'address' has no field 'town' to describe"),
        ({"amount": {"x": "y"}}, "'amount' has no field 'x' to describe"),
        ({"amount": 5}, "the descriptions of 'amount' must be a struct of name and text, not 5"),
        ("text", "the descriptions of the schema must be a struct of name and text"),
    ):
        with pytest.raises(sqlllm.CallError) as caught:
            read_form(INVOICE, wrong)
        assert message in str(caught.value)


def answer(task: sqlllm.Task, text: str) -> Any:
    if task.kind == "complete" and not task.schema:
        return text
    return {
        "name": text, "amount": 12.5, "due": "2024-02-29", "tags": ["a"], "status": "low",
        "address": {"city": None, "zip": "12345"}, "items": [{"sku": "s", "qty": 2}],
    }  # fmt: skip


def test_extract_in_sql() -> None:
    fake = sqlllm.FakeModel(answer)
    types = ("STRUCT(name VARCHAR, amount DECIMAL(10,2), due DATE, tags VARCHAR[], "
             "status ENUM('low','high'), address STRUCT(city VARCHAR, zip VARCHAR(5)), "
             "items STRUCT(sku VARCHAR, qty INTEGER)[])")  # fmt: skip
    struct = """{'name': 'VARCHAR', 'amount': 'DECIMAL(10,2)', 'due': 'DATE', 'tags': ['VARCHAR'],
        'status': 'ENUM(''low'',''high'')', 'address': {'city': 'VARCHAR', 'zip': 'VARCHAR(5)'},
        'items': [{'sku': 'VARCHAR', 'qty': 'INTEGER'}]}"""
    text = "'" + types.replace("'", "''") + "'"
    rows = "(VALUES ('x'), (NULL), ('x')) t(x)"
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        for form in (struct, text, f"{struct}::JSON"):
            got = db.execute(
                f"SELECT CAST(ai.extract(x, {form}) AS {types}) FROM {rows}"
            ).fetchall()
            assert got[1] == (None,)
            assert got[0] == got[2]
            value = got[0][0]
            assert value["amount"] == Decimal("12.50")
            assert value["due"] == date(2024, 2, 29)
            assert value["items"] == [{"sku": "s", "qty": 2}]
        assert fake.inputs == ["x"]  # three spellings of one task
        assert fake.tasks[0].schema == read_form(INVOICE).schema
        db.execute(
            f"SELECT ai.extract('x', {struct}, descriptions := {{'name': 'who'}})"
        ).fetchall()
        assert '"name": string (who)' in fake.tasks[-1].shown
        for wrong in ("ai.extract('x', NULL)", "ai.extract('x', {'a': 'BLOB'})"):
            with pytest.raises(sqlllm.CallError):
                db.execute(f"SELECT {wrong}")


def test_complete_with_a_schema_in_sql() -> None:
    fake = sqlllm.FakeModel(answer)
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        query = "SELECT ai.complete(x, schema := {'name': 'VARCHAR'}, system := 'be brief')"
        ((text,), missing) = db.execute(query + " FROM (VALUES ('p'), (NULL)) t(x)").fetchall()
        assert json.loads(text)["name"] == "p"
        assert missing == (None,)
        (task,) = fake.tasks
        assert (task.kind, task.system, task.shown) == ("complete", "be brief", '{"name": string}')
        assert fake.inputs == ["p"]
        for options, message in (
            ("schema := 'DATE', pattern := 'a'", "both a schema and a pattern"),
            ("schema := 'DATE', stop := 'a'", "both a schema and stop strings"),
            ("descriptions := {'a': 'b'}", "there is none"),
        ):
            with pytest.raises(sqlllm.CallError, match=message):
                db.execute(f"SELECT ai.complete('x', {options})")


def test_every_pattern_is_anchored() -> None:
    for pattern in PATTERNS.values():
        assert pattern.startswith("^")
        assert pattern.endswith("$")


def test_the_caller_s_connection_is_left_alone(tmp_path: Path) -> None:
    import duckdb

    duckdb.sql("CREATE TYPE mood_of_test AS ENUM ('a')")
    try:
        with pytest.raises(sqlllm.CallError, match="unknown type 'mood_of_test'"):
            read_form("mood_of_test")
    finally:
        duckdb.sql("DROP TYPE mood_of_test")


def test_many_threads_read_forms_at_once() -> None:
    fake = sqlllm.FakeModel(lambda task, text: "1")
    with sqlllm.connect(models={"fake": fake}, model="fake") as db:
        db.execute("SET threads = 4")
        query = "ai.extract('x', 'DECIMAL(' || (i % 30 + 1) || ',0)')"
        db.execute("CREATE TABLE t AS SELECT range AS i FROM range(60000)")
        (sums,) = db.execute(f"SELECT sum(CAST({query} AS INTEGER)) FROM t").fetchone()
    assert sums == 60_000
    assert len({task.schema for task in fake.tasks}) == 30
