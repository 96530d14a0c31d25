"""The plugin of dbt-duckdb: on dbt-duckdb's own connections, and in the example project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import answer

import sqlllm
from sqlllm.models import registry

pytest.importorskip("dbt.adapters.duckdb", reason="dbt-duckdb is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # dbt's own

EXAMPLE = Path(__file__).parent.parent / "examples" / "dbt"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> sqlllm.FakeModel:
    """What a profile means by `fake`: a URI can't name it."""
    model = sqlllm.FakeModel(answer)
    monkeypatch.setitem(registry.BUILTIN, "fake", model)  # type: ignore[arg-type]
    return model


Handle = Callable[..., Any]


@pytest.fixture
def handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handle]:
    """dbt-duckdb's connection for one thread, by the plugin's `config`."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.adapters.duckdb.environments import create

    monkeypatch.setattr(DuckDBConnectionManager, "_ENV", None)

    def opened(settings: dict[str, Any] | None = None, **config: Any) -> Any:
        with DuckDBConnectionManager._LOCK:
            return made(settings, config).handle()

    def made(settings: dict[str, Any] | None, config: dict[str, Any]) -> Any:
        if DuckDBConnectionManager._ENV is None:
            plugins = [{"module": "sqlllm.dbt", "config": config}]
            given = {"path": str(tmp_path / "w.duckdb"), "schema": "main", "database": "w"}
            credentials = DuckDBCredentials.from_dict(
                {**given, "settings": settings or {}, "plugins": plugins}
            )
            DuckDBConnectionManager._ENV = create(credentials)
        return DuckDBConnectionManager._ENV

    yield opened
    if DuckDBConnectionManager._ENV is not None:
        DuckDBConnectionManager._ENV.close()


TEXTS = "SELECT 'text ' || i % {n} AS x FROM range(12000) r(i)"


@pytest.mark.parametrize("rewrite", [True, False])
def test_threads_and_batches(handle: Handle, fake: sqlllm.FakeModel, rewrite: bool) -> None:
    settings = {"threads": 2, "memory_limit": "1GB"}  # DuckDB's, which the plugin is given too

    def model(n: int) -> None:
        con = handle(settings, model="fake", rewrite=rewrite)
        query = f"/* dbt */ create table m{n} as (select ai_complete(x) as y from ({TEXTS}))"
        con.cursor().execute(query.format(n=5000 + n))
        con.close()  # the last one closes the database

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(model, (1, 2)))
    assert sorted(fake.inputs) == sorted(f"text {i}" for i in range(5002))
    assert len(fake.batches) <= 2 if rewrite else len(fake.batches) >= 3
    cursor = handle().cursor()
    query = "SELECT y, count(*) FROM m1 GROUP BY ALL ORDER BY ALL LIMIT 1"
    assert cursor.execute(query).fetchall() == [("TEXT 0", 3)]
    assert cursor.execute("SELECT sent FROM ai.usage").fetchall()[-1][0] <= 5002


def test_rows_beyond_a_limit_are_not_asked(handle: Handle, fake: sqlllm.FakeModel) -> None:
    cursor = handle(model="fake").cursor()
    cursor.execute(f"create table t as {TEXTS}".format(n=12000))
    cursor.execute("create table m as (select x from t where not ai.filter(x, 'good') limit 3)")
    assert len(fake.inputs) < 100


def test_messages(handle: Handle, fake: sqlllm.FakeModel) -> None:
    cursor = handle(model="fake").cursor()
    with pytest.raises(sqlllm.UnknownFunction, match=r"no function ai.embd\nHint: did you mean"):
        cursor.execute("select ai.embd('x')")
    with pytest.raises(sqlllm.UnknownModel, match="unknown model 'nope'"):
        cursor.execute("select ai.complete('x', model := 'nope')")


def test_ctrl_c_is_an_error_of_the_node(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    from dbt_common.exceptions import DbtRuntimeError

    begun = threading.Event()

    def slow(task: sqlllm.Task, text: str) -> str:
        begun.set()
        time.sleep(0.01)
        return text

    model = sqlllm.FakeModel(slow, batch_size=10)
    monkeypatch.setitem(registry.BUILTIN, "slow", model)  # type: ignore[arg-type]
    con = handle(model="slow")
    with ThreadPoolExecutor(1) as threads:
        query = f"create table t as select ai.complete(x) as y from ({TEXTS})".format(n=12000)
        node = threads.submit(con.cursor().execute, query)
        assert begun.wait(10)
        con.cursor().interrupt()  # what dbt does then
        with pytest.raises(DbtRuntimeError, match="interrupted; what was answered is kept"):
            node.result(10)
    assert len(model.inputs) < 1000


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"modle": "fake"}, r"unknown setting 'modle' in the profile.*\n.*did you mean `model`"),
        ({"model": 5}, "model must be a name or a URI, not 5"),
        ({"models": "fake"}, "models in the profile.* must be a table"),
        ({"models": {"m": {"url": "hf:x"}}}, r"\[models.m\] has an unknown entry `url`"),
        ({"cache": "maybe"}, "cache must be one of 'on'"),
        ({"cache_bytes": "8 GB"}, "cache_bytes must be a whole number, not '8 GB'"),
        ({"on_error": "skip"}, "on_error must be 'fail' or 'null', not 'skip'"),
        ({"max_calls": "many"}, "max_calls in budgets of 'query' must be a number"),
        ({"budgets": {"day": 3}}, "budgets must be a table of tables"),
        ({"rewrite": "maybe"}, "rewrite must be true, false or a list of rules, not 'maybe'"),
    ],
)
def test_wrong_settings_name_the_field(config: dict[str, Any], message: str) -> None:
    from dbt_common.exceptions import DbtRuntimeError

    from sqlllm.dbt import Plugin

    with pytest.raises(DbtRuntimeError, match=message):
        Plugin("sqlllm", config)


def test_settings_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlllm.dbt import Plugin

    monkeypatch.setenv("SQLLLM_MODEL", "smollm2")
    models = {"mine": {"uri": "hf:m", "price_input": 1, "price_output": 2}, "other": "hf:o"}
    settings = Plugin("sqlllm", {"embed_model": None, "models": models, "max_calls": 7}).settings
    assert (settings.model, settings.embed_model) == ("smollm2", "minilm")
    assert settings.models == {"mine": "hf:m", "other": "hf:o"}
    assert settings.prices["mine"] == {"input": 1, "output": 2}
    assert settings.budgets == {"query": {"max_calls": 7}}


def test_a_line_in_dbts_log_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlllm.dbt import lines
    from sqlllm.runtime.progress import Logged, Work

    said: list[str] = []
    tell = lines(said.append)
    for sent, seconds in ((1, 0.0), (2, 0.0), (3, 60.0)):
        monkeypatch.setattr(Logged, "EVERY", 5.0 - seconds)
        tell(Work("classify · minilm", rows=9, distinct=9, sent=sent))
    assert said == ["classify · minilm: 3 of 9 inputs"]


def build(*more: str) -> dict[str, str]:
    """`dbt build` in this process: node -> its state."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager
    from dbt.cli.main import dbtRunner

    done = dbtRunner().invoke(["build", "--profiles-dir", ".", "--quiet", *more])
    DuckDBConnectionManager.close_all_connections()  # which would keep the file to this process
    assert done.exception is None
    return {result.node.name: str(result.status) for result in done.result}


def asked() -> list[tuple[int, int]]:
    """Rows and inputs sent, per statement, of all processes."""
    with sqlllm.connect() as db:
        return db.execute('SELECT "rows", sent FROM ai.usage ORDER BY started').fetchall()


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "tickets")
    monkeypatch.chdir(tmp_path / "tickets")
    first = build("--vars", "{until: 2026-10-15}")
    assert set(first.values()) == {"success", "pass"}
    assert len(first) == 11
    assert set(build().values()) == {"success", "pass"}
    (before, sent), (new, more) = asked()
    assert (before, new) == (35, 20)  # as the example's README says
    assert sent + more == 50  # distinct texts

    # Another process, as in a shell: nothing is new, and nothing is asked.
    dbt = str(Path(sys.executable).with_name("dbt"))
    command = [dbt, "build", "--profiles-dir", ".", "--project-dir", "."]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout
    assert re.search(r"PASS=11 .*ERROR=0", done.stdout)
    assert done.stderr == ""
    assert len(asked()) == 2

    assert set(build("--full-refresh").values()) == {"success", "pass"}
    assert asked()[2:] == [(55, 0)]  # all anew, from the cache
    with duckdb.connect("tickets.duckdb") as con:
        query = "SELECT count(*), count(topic), count(DISTINCT id) FROM ticket_topics"
        assert con.execute(query).fetchall() == [(55, 55, 55)]

    bad = sqlllm.FakeModel(lambda task, text: "bug")
    monkeypatch.setitem(registry.BUILTIN, "minilm", bad)  # type: ignore[arg-type]
    states = build("--full-refresh")
    assert {name for name, state in states.items() if state == "fail"} == {"topics_are_accurate"}
    assert len(bad.inputs) == 50
