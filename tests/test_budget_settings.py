from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_budget import ask, upper

import sqlllm


def test_a_model_has_caps_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "sqlllm.toml"
    config.write_text("[models.fake]\nmax_calls = 2\n[budgets.day]\nmax_calls = 5\n")
    monkeypatch.setenv("SQLLLM_CONFIG", str(config))
    fake, other = sqlllm.FakeModel(upper), sqlllm.FakeModel(upper)
    models = {"fake": fake, "other": other}
    with sqlllm.connect(models=models, model="other", progress=False) as db:
        with pytest.raises(
            sqlllm.BudgetExceeded, match=r"2 calls per query of model 'fake' leaves"
        ):
            db.execute("SELECT ai.complete('row ' || i, model := 'fake') FROM range(4) t(i)")
        with pytest.raises(sqlllm.BudgetExceeded, match="5 calls per day"):
            ask(db, 4)
    assert (len(fake.inputs), len(other.inputs)) == (2, 3)


def test_a_model_that_has_another_name_elsewhere_has_the_limits_of_its_name_here(
    tmp_path: Path,
) -> None:
    fake, script = sqlllm.FakeModel(upper), tmp_path / "job.sql"
    with sqlllm.connect(models={"first": fake}, model="first") as db:
        ask(db, 1)
    limits: dict[str, Any] = {"caps": {"second": {"max_calls": 2}}}
    limits["prices"] = {"second": {"input": 1e6, "output": 0}}
    with sqlllm.connect(models={"second": fake}, model="second", **limits) as db:
        with pytest.raises(sqlllm.BudgetExceeded, match="2 calls per query of model 'second'"):
            ask(db, 4)
        usage = db.sql("SELECT model, sent, cost FROM ai.usage WHERE this_session").fetchall()
    assert usage == [("second", 2, 4.0)]  # two words each
    assert len(fake.inputs) == 3
    script.write_text("SELECT ai.complete('a job')")
    assert sqlllm.run(script, models={"third": fake}, model="third").counts.sent == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"budgets": {"dya": {"max_calls": 1}}}, "not per 'dya'\nHint: did you mean `day`?"),
        ({"budgets": {"day": {"max_call": 1}}}, "did you mean `max_calls`?"),
        ({"max_calls": -1}, "max_calls in budgets of 'query' must be a number, 0 or more, not -1"),
        ({"max_tokens": "many"}, "must be a number, 0 or more, not 'many'"),
        ({"prices": {"m": {"input": 1}}}, "the price of model 'm' has no 'output'"),
        ({"allow_models": 5}, "allow_models must be a list of names, not 5"),
        ({"allow_models": [5]}, "allow_models must be a list of names, not [5]"),
        ({"models": {"f": object}}, "the model 'f' must be a URI or a Model, not <class 'object'>"),
        ({"models": {"f": sqlllm.FakeModel}}, "the model 'f' must be a URI or a Model, not <class"),
        ({"models": {"f": 1.5}}, "the model 'f' must be a URI or a Model, not 1.5"),
        ({"models": {"": "minilm"}}, "a model's name must be text, not ''"),
        ({"prices": 3}, "such as prices={'mine': {'input': 0.5, 'output': 1.5}}"),
        ({"budgets": {"day": {"max_calls": 1}}, "record": False}, "record is false"),
        ({"audit_log": ""}, "audit_log must be a path, not ''"),
        ({"progress": 3}, "progress must be true, false or a function, not 3"),
        ({"budgets": 7}, "budgets must be a table of tables, not 7"),
        ({"caps": {"m": {"max_cost": 1}}}, "unknown entry 'max_cost' in caps of 'm'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(sqlllm.ConfigError) as caught:
        sqlllm.connect(**given)
    assert message in str(caught.value)


def test_settings_are_merged_from_the_file_and_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "sqlllm.toml"
    config.write_text(
        "max_calls = 7\n[budgets.day]\nmax_calls = 1000\nmax_cost = 2.5\n"
        "[models.mine]\nuri = 'minilm:'\nprice_input = 0.5\nprice_output = 0\nmax_tokens = 10\n"
    )
    monkeypatch.setenv("SQLLLM_CONFIG", str(config))
    loaded = sqlllm.Settings.load(budgets={"day": {"max_calls": 5}}, max_seconds=3)
    assert loaded.budgets == {
        "day": {"max_calls": 5, "max_cost": 2.5},
        "query": {"max_calls": 7, "max_seconds": 3},
    }
    assert loaded.models == {"mine": "minilm:"}
    assert loaded.prices == {"mine": {"input": 0.5, "output": 0}}
    assert loaded.caps == {"mine": {"max_tokens": 10}}
    config.write_text("[models.mine]\nurl = 'minilm:'\n")
    with pytest.raises(sqlllm.ConfigError, match=r"has an unknown entry `url`\nHint: did you mean"):
        sqlllm.Settings.load()
    config.write_text("[models.mine]\n")
    with pytest.raises(sqlllm.ConfigError, match="has no entry `uri`"):
        sqlllm.Settings.load()
    for setting in ("prices", "caps", "budgets"):
        config.write_text(f"{setting} = 5\n")
        with pytest.raises(sqlllm.ConfigError, match=f"{setting} must be a table of tables, not 5"):
            sqlllm.Settings.load()
