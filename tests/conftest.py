from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from both import TABLES, Both
from jobs import Jobs

import sqlllm

# A test doesn't fail because the machine is busy.
hypothesis.settings.register_profile(
    "sqlllm", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("sqlllm")


def answer(task: sqlllm.Task, text: str) -> Any:
    """Deterministic answers: upper case, the label that the text names, its length as a vector."""
    if task.kind == "complete":
        return text.upper()
    if task.kind == "embed":
        return [float(len(text)) + 1, 1.0, float(sum(map(ord, text)) % 7)]
    if task.kind == "extract":
        fields = json.loads(task.schema).get("properties", {"text": {}})
        return {f: [] if form.get("type") == "array" else text for f, form in fields.items()}
    if task.yes_no:
        return "good" in text
    if task.multi:
        return [label for label in task.labels if label in text]
    return next((label for label in task.labels if label in text), task.labels[0])


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Its folder; without it the test skips."""
    from sqlllm.models.pull import smollm2_folder

    try:
        return smollm2_folder()
    except sqlllm.ModelMissing as error:
        pytest.skip(str(error))


def pytest_configure() -> None:
    """What is set up for a whole module keeps its answers here, not in the user's files."""
    folder = tempfile.mkdtemp(prefix="sqlllm-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # after what others write at exit
    os.environ["SQLLLM_CACHE_FILE"] = f"{folder}/answers.sqlite"
    os.environ["SQLLLM_STATE_FILE"] = f"{folder}/state.sqlite"


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside, and files of its own for each test."""
    monkeypatch.setenv("SQLLLM_CACHE_FILE", str(tmp_path / "kept" / "answers.sqlite"))
    monkeypatch.setenv("SQLLLM_STATE_FILE", str(tmp_path / "kept" / "state.sqlite"))
    monkeypatch.delenv("SQLLLM_CACHE", raising=False)
    for name in ("SQLLLM_CONFIG", "SQLLLM_MODEL", "SQLLLM_EMBED_MODEL", "SQLLLM_ON_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True)
def no_rule_fails(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A fault in a rule is logged and the statement left as it stands: here it fails the test."""
    yield
    failed = [r for r in caplog.get_records("call") if r.name == "sqlllm.rewrite"]
    assert not failed or "expected" in failed[0].message


@pytest.fixture
def fake() -> sqlllm.FakeModel:
    return sqlllm.FakeModel(answer)


@pytest.fixture
def db(fake: sqlllm.FakeModel) -> Iterator[sqlllm.Connection]:
    with sqlllm.connect(models={"fake": fake}, model="fake", embed_model="fake") as con:
        yield con


@pytest.fixture
def jobs(tmp_path: Path, fake: sqlllm.FakeModel) -> Jobs:
    return Jobs(tmp_path, fake)


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    pair = Both(TABLES)
    yield pair
    pair.on.close()
    pair.off.close()


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sqlllm bench` multiplies matrices before every run, to know the machine's peak."""
    from sqlllm.bench import machine

    monkeypatch.setitem(machine.GEMM, "cpu", 256)
    monkeypatch.setitem(machine.STREAM, "cpu", 1 << 24)


def pytest_report_header() -> str:
    import duckdb
    import sqlglot
    import transformers

    versions = (duckdb, sqlglot, transformers)
    return "versions: " + ", ".join(f"{m.__name__} {m.__version__}" for m in versions)
