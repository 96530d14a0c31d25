from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest
from test_usage import open_with, upper

import sqlllm


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Far(sqlllm.FakeModel):
    """A model that sends texts somewhere, as a user may write one."""

    remote = True


# --- who may be asked


def test_only_listed_models_are_used() -> None:
    fake, other = sqlllm.FakeModel(upper), sqlllm.FakeModel(upper)
    models = {"fake": fake, "other": other}
    with sqlllm.connect(models=models, model="other", allow_models=["fake"]) as db:
        for call in ("ai.complete('x')", "ai.embed('x')", "ai.count_tokens('x', model := 'other')"):
            with pytest.raises(sqlllm.ConfigError, match="is not in allow_models\nHint: use one"):
                db.execute(f"SELECT {call}")
        db.execute("SET VARIABLE ai_model = 'fake'")
        assert db.execute("SELECT ai.complete('x')").fetchone() == ("X",)
        value, error = db.execute(
            "SELECT unnest(ai.try_complete('y', model := 'other'))"
        ).fetchone()
        assert value is None
        assert error == "model 'other' is not in allow_models"
    assert (fake.inputs, other.inputs) == (["x"], [])
    with pytest.raises(sqlllm.ConfigError, match="allow_models must be a list"):
        sqlllm.connect(allow_models="fake")


def test_remote_models_are_refused_unless_settings_allow_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far(upper)
    with (
        open_with(far) as db,
        pytest.raises(sqlllm.ConfigError, match="'fake' sends texts to another machine") as caught,
    ):
        db.execute("SELECT ai.complete('x')")
    assert "allow_remote = true into sqlllm.toml" in str(caught.value)
    assert far.inputs == []
    config = tmp_path / "sqlllm.toml"
    config.write_text("allow_remote = true\n")
    monkeypatch.setenv("SQLLLM_CONFIG", str(config))
    with open_with(far) as db:
        assert db.execute("SELECT ai.complete('x')").fetchone() == ("X",)


def test_installing_again_lifts_no_limit_that_it_does_not_name(tmp_path: Path) -> None:
    fake, log = Far(upper), tmp_path / "audit.jsonl"
    con = duckdb.connect()
    sqlllm.install(
        con,
        models={"fake": fake},
        model="fake",
        max_calls=2,
        caps={"fake": {"max_tokens": 10_000}},
        allow_models=["fake"],
        allow_remote=True,
        audit_log=str(log),
    )
    sqlllm.install(con, model="fake")
    with pytest.raises(duckdb.InvalidInputException, match="allow_remote is false"):
        con.execute("SELECT ai.complete('x')").fetchall()
    sqlllm.install(con, model="fake", allow_remote=True)
    with pytest.raises(duckdb.InvalidInputException, match="2 calls per query"):
        con.execute("SELECT ai.complete('row ' || i) FROM range(3) t(i)").fetchall()
    with pytest.raises(duckdb.InvalidInputException, match="not in allow_models"):
        con.execute("SELECT ai.embed('x')").fetchall()
    assert len(read(log)) == 2
    sqlllm.install(con, model="fake", allow_remote=True, max_calls=3)
    assert len(con.execute("SELECT ai.complete('row ' || i) FROM range(3) t(i)").fetchall()) == 3
    con.close()


# --- the audit log


def test_the_audit_log_has_a_line_per_input_sent_and_no_text(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "audit.jsonl"
    fake = sqlllm.FakeModel(upper, batch_size=2)
    query = "SELECT ai.complete(x, on_error := 'null') FROM (VALUES ('a'), ('bad b'), ('a')) t(x)"
    with open_with(fake, audit_log=str(log)) as db:
        db._installation.runtime.ledger.run = "nightly-1"
        for _ in range(2):  # the second time, one is cached and the failure is asked again
            db.execute(query).fetchall()
        session = db._installation.runtime.ledger.session
    lines = read(log)
    assert [line["outcome"] for line in lines] == ["ok", "ModelError", "ModelError"]
    digest = hashlib.blake2b(b"a", digest_size=32).hexdigest()
    assert lines[0]["input"] == f"blake2b:{digest}"
    assert lines[0] | {"time": "", "user": ""} == {
        "time": "",
        "session": session,
        "run": "nightly-1",
        "user": "",
        "function": "complete",
        "model": "fake",
        "fingerprint": fake.fingerprint,
        "task": sqlllm.Task("complete").key.hex(),
        "input": f"blake2b:{digest}",
        "outcome": "ok",
    }
    assert "bad b" not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0  # nobody else reads it


def test_texts_are_in_the_audit_log_only_if_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with open_with(sqlllm.FakeModel(upper), audit_log=str(log), audit_texts=True) as db:
        db.execute("SELECT ai.complete('line\none, grün')")
    (line,) = read(log)
    assert line["text"] == "line\none, grün"


def test_what_a_model_had_when_it_failed_is_in_the_audit_log(tmp_path: Path) -> None:
    def fn(_: sqlllm.Task, text: str) -> str:
        if text == "row 2":
            raise MemoryError
        return text

    log = tmp_path / "audit.jsonl"
    with (
        open_with(sqlllm.FakeModel(fn, batch_size=1), audit_log=str(log)) as db,
        pytest.raises(MemoryError),
    ):
        db.execute("SELECT ai.complete('row ' || i) FROM range(4) t(i)")
    assert [line["outcome"] for line in read(log)] == ["ok", "ok", "unknown", "unknown"]


def test_without_its_audit_log_no_model_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fake = sqlllm.FakeModel(upper)
    with open_with(fake, audit_log=str(tmp_path / "file" / "audit.jsonl")) as db:
        for call in ("ai.complete('x', on_error := 'null')", "ai.try_complete('x')"):
            with pytest.raises(sqlllm.StorageError, match=r"audit log .* can't be written"):
                db.execute(f"SELECT {call}")
    assert fake.inputs == []


def test_a_file_that_is_no_audit_log_is_left_as_it_is(tmp_path: Path) -> None:
    mistaken = tmp_path / ".profile"
    mistaken.write_text("alias ll='ls -l'\n")
    fake = sqlllm.FakeModel(upper)
    with (
        open_with(fake, audit_log=str(mistaken)) as db,
        pytest.raises(sqlllm.StorageError, match=r"\.profile is no audit log"),
    ):
        db.execute("SELECT ai.try_complete('x')")
    assert fake.inputs == []
    assert mistaken.read_text() == "alias ll='ls -l'\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_answer_that_could_not_be_noted_is_not_used() -> None:
    fake = sqlllm.FakeModel(upper)
    with (
        open_with(fake, audit_log="/dev/full") as db,
        pytest.raises(sqlllm.StorageError, match="No space left on device"),
    ):
        db.execute("SELECT ai.complete('x')")
    with open_with(fake) as db:
        db.execute("SELECT ai.complete('x')")
    assert fake.inputs == ["x", "x"]


PROCESS = """
import sys, sqlllm
fake = sqlllm.FakeModel(lambda task, text: text, batch_size=7)
with sqlllm.connect(models={"fake": fake}, model="fake", progress=False,
                    audit_log=sys.argv[1], audit_texts=True) as db:
    db.execute(f"SELECT ai.complete(repeat('{sys.argv[2]} ', 300) || i) FROM range(500) t(i)")
"""


def test_processes_do_not_mix_their_lines(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    started = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(log), name]) for name in ("a", "b")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    assert Counter(line["text"][0] for line in read(log)) == {"a": 500, "b": 500}


# --- logs and spans


def test_a_call_that_asked_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sqlllm.runtime")
    fake = sqlllm.FakeModel(upper)
    with open_with(fake) as db:
        for _ in range(2):
            db.execute("SELECT ai.complete('row ' || i % 3) FROM range(6) t(i)").fetchall()
    (record,) = [each for each in caplog.records if each.name == "sqlllm.runtime"]
    assert record.message.startswith("complete · fake: 3 sent, 0 cached")
    found = vars(record)
    assert (found["function"], found["model"], found["rows"], found["sent"]) == (
        "complete",
        "fake",
        6,
        3,
    )
    assert found["seconds"] > 0
    assert found["error"] is None


SECRET = "sk-3141592653589793"


def test_texts_and_keys_are_in_no_log_and_no_error_beyond_the_excerpt(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Rows that hold a secret behind the first 60 characters: answered, failed and refused."""
    caplog.set_level(logging.DEBUG)

    def fn(_: sqlllm.Task, text: str) -> str:
        if "fails" in text:
            raise sqlllm.BadAnswer("the answer has another form")
        return text

    log, told = tmp_path / "audit.jsonl", []
    fake = sqlllm.FakeModel(fn, window=30)
    texts = [f"{word} {'and so on ' * 7}{SECRET}" for word in ("works", "fails", "again")]
    texts.append("word " * 40 + SECRET)  # too long
    with open_with(fake, audit_log=str(log), max_calls=3) as db:
        for text in texts:
            for options in ("", ", on_error := 'null'"):
                try:
                    query = (
                        f"SELECT ai.complete(x{options}) FROM (SELECT ? AS x UNION ALL SELECT 'b')"
                    )
                    db.execute(query, [text])
                except sqlllm.SqlllmError as error:
                    told.append(str(error))
        with pytest.raises(sqlllm.BudgetExceeded) as caught:
            db.execute("SELECT ai.complete(? || i) FROM range(9) t(i)", [SECRET])
        told.append(str(caught.value))
        told += [str(row) for row in db.execute("FROM ai.errors").fetchall()]
        told += [str(row) for row in db.execute("FROM ai.usage").fetchall()]
    told += [str(vars(record)) for record in caplog.records]
    told.append(log.read_text())
    assert any("another form" in line for line in told)
    assert any("has 41 words" in line for line in told)
    assert not [line for line in told if SECRET in line]


def test_a_call_that_asked_is_a_span() -> None:
    trace = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is absent")
    from opentelemetry import trace as api
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    api.set_tracer_provider(provider)
    fake = sqlllm.FakeModel(upper)
    query = "SELECT ai.complete('row ' || i % 3, max_tokens := 9) FROM range(6000) t(i)"
    with open_with(fake, prices={"fake": {"input": 1, "output": 1}}) as db:
        with api.get_tracer("test").start_as_current_span("report") as parent:
            for _ in range(2):
                db.execute(query).fetchall()
        with pytest.raises(sqlllm.ModelError):
            db.execute("SELECT ai.complete('bad')")
    first, above, failed = exporter.get_finished_spans()
    assert (first.name, above.name) == ("text_completion fake", "report")
    assert first.parent.span_id == parent.get_span_context().span_id
    assert dict(first.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "sqlllm",
        "gen_ai.request.model": "fake",
        "gen_ai.usage.input_tokens": 6,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 9,
        "sqlllm.function": "complete",
        "sqlllm.cost": pytest.approx(9e-6),
        "sqlllm.rows": 6000,
        "sqlllm.distinct_inputs": 3,
        "sqlllm.cached": 0,
        "sqlllm.sent": 3,
        "sqlllm.batches": 1,
        "sqlllm.errors": 0,
    }
    assert first.end_time > first.start_time
    assert failed.parent is None
    assert failed.attributes["error.type"] == "ModelError"
    assert not failed.status.is_ok
    told = (failed.attributes, failed.status.description, [e.attributes for e in failed.events])
    assert "bad" not in str(told)


def test_nothing_of_opentelemetry_is_loaded_before_a_model_is_asked() -> None:
    code = (
        "import sys, sqlllm; db = sqlllm.connect(); db.execute('SELECT 1').fetchall();"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_opentelemetry_may_be_half_imported_by_another_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is in the moment in which the first of several cursors has been answered."""
    monkeypatch.setitem(sys.modules, "opentelemetry.context", ModuleType("opentelemetry.context"))
    with sqlllm.connect() as db:
        assert db.execute("SELECT 1").fetchall() == [(1,)]
