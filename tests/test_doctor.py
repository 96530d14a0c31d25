from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import sqlllm
from sqlllm.bench import machine
from sqlllm.cli import main
from sqlllm.doctor import configured, device, examine, kept, speed, versions
from sqlllm.doctor.finding import Finding
from sqlllm.models import registry
from sqlllm.settings import Settings, cache_path

KEYS = ["section", "name", "status", "found", "fix", "values"]


def named(findings: Any, name: str) -> Finding:
    (found,) = [finding for finding in findings if finding.name == name]
    return found  # type: ignore[no-any-return]


def test_one_json_object_of_a_stable_shape(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--no-speed"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert list(report) == ["status", "findings"]
    assert report["status"] in ("ok", "warning")
    for finding in report["findings"]:
        assert list(finding) == KEYS
        assert finding["status"] in ("ok", "warning")
    sections = list(dict.fromkeys(finding["section"] for finding in report["findings"]))
    assert sections == ["versions", "extras", "settings", "device", "models", "files"]
    versions_ = {f["name"]: f["values"].get("version") for f in report["findings"]}
    assert versions_["duckdb"] == metadata.version("duckdb")
    assert versions_["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_table_fits_80_columns_and_has_no_colours_in_a_pipe(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SQLLLM_HOME", str(tmp_path))
    monkeypatch.setenv("SQLLLM_CACHE_FILE", "/tmp/c.sqlite")
    monkeypatch.setenv("SQLLLM_STATE_FILE", "/tmp/s.sqlite")
    assert main(["doctor", "--quick"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "\x1b" not in "".join(lines)
    long = [line for line in lines if len(line) > 80]
    assert all(" " not in line[33:].removeprefix("→ ") for line in long), long  # but for paths
    place = next(i for i, line in enumerate(lines) if line.startswith("  warning smollm2"))
    assert lines[place + 1].strip() == "→ sqlllm pull smollm2"
    assert lines[-1].startswith("0 problems, ")


def test_a_library_too_old_or_missing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name in ("sqlglot", "polars"):
            return "0.1"
        if name in ("tokenizers", "pytz", "dbt-duckdb"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("sqlllm.doctor.versions.metadata.version", version)
    found = [*versions.versions(), *versions.extras()]
    old = named(found, "sqlglot")
    assert (old.status, old.fix) == ("problem", "pip install 'sqlglot>=30.10'")
    assert old.found == "0.1, needs >=30.10"
    gone = named(found, "pytz")
    assert (gone.status, gone.fix) == ("problem", "pip install 'pytz'")
    polars = named(found, "polars")
    assert (polars.status, polars.fix) == ("warning", "pip install 'sqlllm[polars]'")
    dbt = named(found, "dbt")
    assert (dbt.status, dbt.found) == ("ok", "not installed: dbt-duckdb")
    assert dbt.fix == "pip install 'sqlllm[dbt]'  (optional)"
    assert not [f for f in found if f.name == "dev"]
    assert main(["doctor", "--json"]) == 1  # and nothing is measured
    report = json.loads(capfd.readouterr().out)
    assert report["status"] == "problem"
    assert "speed" not in {finding["section"] for finding in report["findings"]}


def test_run_from_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("sqlllm.doctor.versions.metadata.metadata", missing)
    (only,) = versions.versions()
    assert (only.name, only.status) == ("sqlllm", "warning")
    assert list(versions.extras()) == []


Config = Callable[[str], None]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Writes the settings file that holds here."""
    path = tmp_path / "sqlllm.toml"
    monkeypatch.setenv("SQLLLM_CONFIG", str(path))
    return lambda text: path.write_text(text) and None


@pytest.mark.parametrize(
    ("text", "found", "fix"),
    [
        ("model = ", "is not valid TOML", "correct "),
        ("modle = 'x'", "unknown setting 'modle'", "did you mean `model`?"),
        ("cache = 'sometimes'", "cache must be one of", "correct "),
        ("cache_bytes = 'many'", "must be a whole number, not 'many'", "correct "),
        ("cache_bytes = true", "must be a whole number, not True", "correct "),
        ("[models.mine]\nurl = 'x'", "unknown entry `url`", "did you mean `uri`?"),
    ],
)
def test_wrong_settings(
    config: Config, capfd: pytest.CaptureFixture[str], text: str, found: str, fix: str
) -> None:
    config(text)
    assert main(["doctor", "--no-speed", "--json"]) == 1
    findings = [Finding(**f) for f in json.loads(capfd.readouterr().out)["findings"]]
    wrong = named(findings, "sqlllm.toml")
    assert wrong.status == "problem"
    assert found in wrong.found
    assert (wrong.fix or "").startswith(fix)
    assert named(findings, "minilm").status == "ok"  # the other checks go on


def test_what_the_settings_set(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config(
        "embed_model = 'minilm'\n[models.mine]\n"
        "uri = 'hf:/secret'\nprice_input = 1\nprice_output = 2\n"
    )
    _, found = configured.settings()
    told = named(found, "sqlllm.toml").found
    assert told.endswith("sets embed_model = 'minilm', models (mine)")
    monkeypatch.setenv("SQLLLM_TEXT_FIRST", "true")
    settings, found = configured.settings()
    assert settings.text_first
    assert named(found, "environment").status == "ok"
    monkeypatch.setenv("SQLLLM_CACHEFILE", "/key")
    monkeypatch.setenv("SQLLLM_CONFIG", "/nothing.toml")
    _, found = configured.settings()
    assert "names '/nothing.toml', which is not a file" in named(found, "sqlllm.toml").found
    unread = named(found, "environment")
    assert (unread.status, "/key" in unread.found) == ("warning", False)
    assert unread.fix == "SQLLLM_CACHEFILE: did you mean `SQLLLM_CACHE_FILE`?"


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLLLM_HOME", str(tmp_path))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    (broken / "model.safetensors").write_bytes((100).to_bytes(8, "little") + b"{}")
    settings = Settings(
        model="mine",
        embed_model="nope",
        models={
            "mine": "hf:someone/big",
            "local": f"hf:{tmp_path}/none",
            "broken": f"hf:{broken}",
            "odd": "gguf:x",
        },
    )
    found = list(configured.models(settings))
    assert named(found, "mine").status == "problem"  # a default
    assert named(found, "mine").fix == "sqlllm pull hf:someone/big"
    assert named(found, "nope").status == "problem"
    assert named(found, "local").status == "warning"
    assert named(found, "local").fix == f"correct the model's URI, `hf:{tmp_path}/none`"
    assert "is damaged" in named(found, "broken").found
    assert named(found, "broken").fix == f"copy the model's files to {broken} again"
    shutil.copytree(broken, tmp_path / "models" / "hf" / "someone--big")
    (again,) = [f for f in configured.models(settings) if f.name == "mine"]
    assert (again.fix or "").endswith("someone--big and run sqlllm pull hf:someone/big")
    assert "unknown kind of model 'gguf:x'" in named(found, "odd").found
    assert named(found, "odd").status == "problem"  # nothing connects with it
    assert (named(found, "smollm2").status, named(found, "smollm2").fix) == (
        "warning",
        "sqlllm pull smollm2",
    )
    assert named(found, "minilm").status == "ok"
    (left_out,) = [
        f for f in configured.models(Settings(allow_models=["smollm2"])) if f.name == "minilm"
    ]
    assert (left_out.status, left_out.fix) == ("problem", 'add "minilm" to allow_models')


def test_files_as_they_are(db: sqlllm.Connection) -> None:
    settings = Settings.load()
    assert named(kept.files(settings), "cache").found.endswith("not there yet")
    fake = sqlllm.FakeModel(lambda task, text: text, fingerprint="1")
    with sqlllm.connect(models={"m": fake}) as con:
        con.execute("SELECT ai.complete('t' || i, model := 'm') FROM range(5) t(i)").fetchall()
    found = list(kept.files(settings))
    cache, state = named(found, "cache"), named(found, "state")
    assert ": 5 answers, " in cache.found
    assert ": 1 rows of usage, 0 runs, " in state.found
    assert cache.values["bytes"] == cache_path(settings).stat().st_size
    assert {f.status for f in found} == {"ok"}
    found = list(kept.files(Settings(cache="off", record=False)))
    assert [f.name for f in found] == ["cache", "state", "models and downloads"]


@pytest.mark.parametrize("how", ["not SQLite", "a page", "a folder"])
def test_a_damaged_cache_is_named_and_left_alone(how: str, tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    if how == "a folder":
        path.mkdir()
    elif how == "not SQLite":
        path.write_bytes(b"not a database, but text" * 100)
    else:
        con = sqlite3.connect(path)
        con.execute("CREATE TABLE blocks (answers INT, x TEXT)")
        con.executemany("INSERT INTO blocks VALUES (1, ?)", [("x" * 500,)] * 100)
        con.commit()
        con.close()
        with path.open("r+b") as file:
            file.seek(4096 * 3)
            file.write(b"\xff" * 4096 * 4)
    before = path.read_bytes() if path.is_file() else b""
    found = named(kept.files(Settings(cache_file=str(path), record=False)), "cache")
    assert found.status == "problem"
    assert found.fix
    if how != "a folder":
        assert f"mv {path} {path}.damaged" in found.fix
        assert path.read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir() if "damaged" in p.name) == []


def test_files_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "c.sqlite")
    found = list(kept.files(Settings(cache_file=below, record=False, audit_log=below)))
    for name, setting in (("cache", "cache_file"), ("audit log", "audit_log")):
        finding = named(found, name)
        assert finding.status == "problem"
        assert setting in (finding.fix or "")

    # A folder without the right to write; root has it everywhere.
    def refused(**given: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    fine = Settings(cache_file=str(tmp_path / "c.sqlite"), record=False)
    finding = named(kept.files(fine), "cache")
    assert (finding.status, "can't be made" in finding.found) == ("problem", True)
    assert named(kept.files(Settings(cache="read", record=False)), "cache").status == "ok"


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 2 << 30}))
    found = named(kept.files(Settings(cache_file=str(tmp_path / "c"), record=False)), "disk")
    assert found.status == "warning"
    assert found.fix == f"free some, or set cache_bytes = {1 << 30} in sqlllm.toml"


def test_fewer_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    monkeypatch.setattr(
        "sqlllm.bench.machine.describe", lambda *_: {"cpu": "a cpu", "cores": 4, "dtype": "x"}
    )
    found = named(device.device(), "cpu")
    assert (found.status, found.fix) == ("warning", "unset OMP_NUM_THREADS")


def test_speed_past_the_cache_and_the_records(
    monkeypatch: pytest.MonkeyPatch, fake: sqlllm.FakeModel
) -> None:
    monkeypatch.setitem(machine.GEMM, "cpu", 64)
    monkeypatch.setitem(registry.BUILTIN, "minilm", fake)  # type: ignore[arg-type]
    broken = sqlllm.FakeModel(lambda task, text: 1 / 0)
    monkeypatch.setitem(registry.BUILTIN, "smollm2", broken)  # type: ignore[arg-type]
    found = list(speed.speed({"minilm", "smollm2", "mine"}))
    assert named(found, "matrix product").values["flops"] > 0
    assert len(fake.inputs) == speed.ROWS + 4
    assert fake.tasks[0].kind == "embed"
    assert named(found, "embed by minilm").values["rows_per_second"] > 0
    assert named(found, "classify by smollm2").status == "problem"
    assert not cache_path(Settings.load()).exists()
    assert [f.name for f in speed.speed(set())] == ["matrix product"]


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: 1 / 0)
    found = [f for f in examine(measure=False) if f.section == "device"]
    assert found[-1].found == "ZeroDivisionError: division by zero"
    assert found[-1].status == "problem"
