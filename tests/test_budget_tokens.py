"""Budgets of tokens, cost and seconds."""

from __future__ import annotations

import time
from typing import Any

import duckdb
import pytest
from test_budget import ask, open_with

import sqlllm


def words(_: sqlllm.Task, text: str) -> str:
    return " ".join(["word"] * (len(text) % 5 + 1))


class Tokens(sqlllm.FakeModel):
    """Reads a prompt around each text, and writes as many tokens as its answer has words."""

    def complete(self, task: sqlllm.Task, inputs: Any) -> Any:
        for batch in super().complete(task, inputs):
            written = sum(len(str(answer).split()) for answer in batch.answers)
            self.tokens = getattr(self, "tokens", 0) + batch.prompt_tokens + written
            self.tokens += 7 * len(batch.rows)
            read = batch.prompt_tokens + 7 * len(batch.rows)
            yield sqlllm.Batch(batch.rows, batch.answers, batch.errors, read, written)


@pytest.mark.parametrize("limit", [400, 3_000, 20_000])
@pytest.mark.parametrize("batch_size", [5, None])
def test_tokens_are_not_overshot(limit: int, batch_size: int | None) -> None:
    fake = Tokens(words, batch_size=batch_size)
    with open_with(fake, max_tokens=limit) as db, pytest.raises(sqlllm.BudgetExceeded) as caught:
        ask(db, 5000)
    assert 0 < fake.tokens <= limit
    assert fake.tokens > limit - 330  # less than what one more input may take
    assert f"the budget of {limit:,} tokens per query leaves no room" in str(caught.value)
    assert "tokens spent, the next input may take " in str(caught.value)
    assert f"{5000 - len(fake.inputs):,} inputs left (about " in str(caught.value)


def test_tokens_of_several_threads_are_not_overshot_and_not_left_unused() -> None:
    fake = Tokens(words, batch_size=20)
    con = duckdb.connect(config={"threads": 4})
    sqlllm.install(con, models={"fake": fake}, model="fake", max_tokens=20_000, progress=False)
    con.execute("CREATE TABLE t AS SELECT 'row ' || i AS x FROM range(300000) t(i)")
    with pytest.raises(duckdb.InvalidInputException, match="20,000 tokens per query"):
        con.execute("SELECT count(ai.complete(x)) FROM t").fetchall()
    assert 15_000 < fake.tokens <= 20_000
    con.close()


def test_a_text_that_is_cut_takes_what_the_model_reads() -> None:
    with sqlllm.connect(max_tokens=2000, progress=False) as db:
        query = "SELECT len(ai.embed(repeat('word ', 5000), truncate := true))"
        assert db.execute(query).fetchall() == [(384,)]


def test_cost_needs_a_price_and_is_not_overshot() -> None:
    fake = Tokens(words)
    with (
        open_with(fake, max_cost=0.01) as db,
        pytest.raises(sqlllm.ConfigError, match="model 'fake' has no price"),
    ):
        ask(db, 5)
    assert fake.inputs == []
    prices = {"fake": {"input": 2.0, "output": 10.0}}
    with (
        open_with(fake, max_cost=0.01, prices=prices) as db,
        pytest.raises(sqlllm.BudgetExceeded, match=r"a cost of 0\.01 per .*, a cost of ") as caught,
    ):
        ask(db, 5000)
    assert "max_cost in [budgets.query]" in str(caught.value)
    with open_with(fake) as db:
        ((cost, read, written),) = db.execute(
            "SELECT sum(cost), sum(prompt_tokens), sum(completion_tokens) FROM ai.usage"
        ).fetchall()
    assert cost == pytest.approx((2 * read + 10 * written) / 1e6)
    assert 0.006 < cost <= 0.01


@pytest.mark.parametrize("per", ["query", "day"])
def test_seconds_stop_between_batches(per: str) -> None:
    def slow(_: sqlllm.Task, text: str) -> str:
        time.sleep(0.05)
        return text

    fake = sqlllm.FakeModel(slow, batch_size=1)
    with (
        open_with(fake, budgets={per: {"max_seconds": 0.22}}) as db,
        pytest.raises(sqlllm.BudgetExceeded, match=rf"0\.22 seconds per {per}"),
    ):
        ask(db, 20)
    assert 3 <= len(fake.inputs) <= 5
