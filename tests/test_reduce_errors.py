from __future__ import annotations

import pytest
from test_reduce import expected, told

import sqlllm


def failing(task: sqlllm.Task, text: str) -> str:
    if "bad" in text:
        msg = "no answer to that"
        raise sqlllm.ModelError(msg)
    return told(task, text)


@pytest.mark.parametrize("texts", [["bad"], [f"word {i}" for i in range(200)] + ["bad"]])
def test_a_part_that_fails(texts: list[str]) -> None:
    model = sqlllm.FakeModel(failing, window=400)
    rows = [("a", text) for text in texts] + [("b", "good")]
    with sqlllm.connect(models={"fake": model}, model="fake") as db:
        db.execute("CREATE TABLE r (g VARCHAR, x VARCHAR)")
        db._con.executemany("INSERT INTO r VALUES (?, ?)", rows)
        query = "SELECT ai.agg(x, 'sum up', max_tokens := 9, on_error := '{}') FROM r GROUP BY g "
        with pytest.raises(sqlllm.ModelError, match="no answer to that"):
            db.execute(query.format("fail"))
        found = db.execute(query.format("null") + "ORDER BY g").fetchall()
        assert found == [(None,), (expected(["good"], "sum up"),)]
        (failure,) = db.execute("SELECT function, message FROM ai.errors").fetchall()
        assert failure == ("agg", "no answer to that")
        long = (
            f"SELECT ai.summarize('{'. '.join([*texts] * 9)}', max_tokens := 9, on_error := 'null')"
        )
        assert db.execute(long).fetchall() == [(None,)]


def test_try_says_why_a_row_has_no_answer() -> None:
    model = sqlllm.FakeModel(failing, window=400)
    long = ". ".join([*(f"word {i}" for i in range(200)), "bad"])
    groups = {"a": ["bad"], "b": ["good", "fine"], "c": [None], "d": long.split(". ")}
    with sqlllm.connect(models={"fake": model}, model="fake") as db:
        db.execute("CREATE TABLE r (g VARCHAR, x VARCHAR)")
        rows = [(g, text) for g, texts in groups.items() for text in texts]
        db._con.executemany("INSERT INTO r VALUES (?, ?)", rows)
        query = (
            "SELECT unnest(ai.try_agg(x, 'sum up', max_tokens := 9)), "
            "unnest(ai.try_agg(DISTINCT x, 'sum up' ORDER BY x DESC)) FROM r GROUP BY g ORDER BY g"
        )
        why = "no answer to that"
        backwards = expected(["good", "fine"], "sum up", in_order=True)
        assert db.execute(query).fetchall() == [
            (None, why, None, why),
            (expected(["good", "fine"], "sum up"), None, backwards, None),
            (None, None, None, None),
            (None, why, None, why),
        ]
        values = "(VALUES ($1), ('a'), (NULL)) t(x)"
        query = f"SELECT unnest(ai.try_summarize(x, max_tokens := 9)) FROM {values}"
        told_of_a = told(
            sqlllm.Task("complete", system="Summarise the text. Say only what it says."), "a"
        )
        assert db.execute(query, [long]).fetchall() == [
            (None, why),
            (told_of_a, None),
            (None, None),
        ]
        ((value, error),) = db.execute("SELECT unnest(ai.try_agg(x, '')) FROM r").fetchall()
        assert value is None
        assert "instruction is empty" in error


@pytest.mark.parametrize("answer", ["{}", "word " * 300])  # in more prompts, in as many
def test_answers_that_never_get_shorter(answer: str) -> None:
    model = sqlllm.FakeModel(lambda task, text: answer.format(text), window=400)
    with sqlllm.connect(models={"fake": model}, model="fake") as db:
        query = "SELECT ai.agg('row ' || i, 'sum up', max_tokens := 9{}) FROM range(200) t(i)"
        with pytest.raises(sqlllm.ModelError, match="are too long to be combined"):
            db.execute(query.format(""))
        assert db.execute(query.format(", on_error := 'null'")).fetchall() == [(None,)]
        assert len(db.execute("FROM ai.errors").fetchall()) == 1
