"""URIs of models: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import save

import sqlllm
from sqlllm.cli import main
from sqlllm.models.known import signature
from sqlllm.models.registry import Registry, load
from sqlllm.models.uri import DTYPES, Uri

PLACES = st.text(st.characters(codec="utf-8", exclude_characters="?\0"), min_size=1, max_size=30)
MODELS = st.one_of(
    st.tuples(st.just("hf"), PLACES), st.sampled_from([("minilm", ""), ("smollm2", "")])
)


@given(MODELS, st.sampled_from([None, *DTYPES]))
def test_parts_are_what_was_written(model: tuple[str, str], dtype: str | None) -> None:
    written = ":".join(model) + (f"?dtype={dtype}" if dtype else "")
    assert Uri.parse(written) == Uri(*model, dtype)
    if not model[1]:
        assert Uri.parse(written.replace(":", "")) == Uri(*model, dtype)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("gguf:x", "unknown kind of model 'gguf:x'\nHint: known are `hf`, `minilm`, `smollm2`"),
        ("smolm2", "unknown kind of model 'smolm2'\nHint: did you mean `smollm2`?"),
        ("models/mine", "unknown kind of model 'models/mine'\nHint: a folder is `hf:models/mine`"),
        ("hf:", "model 'hf:' has no folder"),
        ("smollm2:large", "unknown model 'smollm2:large'\nHint: there is one smollm2, `smollm2:`"),
        ("hf:x?dtyp=int8", "unknown option 'dtyp' of model 'hf:x\\?dtyp=int8'"),
        ("hf:x?", "unknown option ''"),
        ("hf:x?dtype=int4", "unknown dtype 'int4'"),
        ("hf:x?dtype=int8?dtype=int8", "unknown dtype"),
    ],
)
def test_what_it_can_not_be_is_refused(uri: str, message: str) -> None:
    with pytest.raises(sqlllm.ConfigError, match=message):
        Uri.parse(uri)
    with pytest.raises(sqlllm.ConfigError, match=message):
        sqlllm.connect(models={"mine": uri})


def test_what_was_known_in_one_precision_is_not_in_another(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert len({signature(tmp_path, dtype) for dtype in (None, *DTYPES)}) == 1 + len(DTYPES)


def test_minilm_in_the_precision_that_is_asked_for() -> None:
    pytest.importorskip("torch")
    models = Registry({dtype: f"minilm:?dtype={dtype}" for dtype in ("float32", "bfloat16")})
    for dtype in ("float32", "bfloat16"):
        assert f":{dtype}:" in models.get(dtype).fingerprint
        assert models.width(dtype) == 384


def test_a_folder_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLLLM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri, message in (
        (f"hf:{tmp_path}", f"there is no model in {tmp_path}\nHint: a model's folder has a"),
        (f"hf:{tmp_path}/gone", f"there is no folder {tmp_path}/gone\nHint: correct the model's"),
        ("hf:~/gone", f"there is no folder {tmp_path}/gone\nHint: correct the model's URI, `hf:~/"),
        ("hf:old", "there is no folder old, and model 'hf:old' was not pulled\nHint: run `sqlllm"),
        ("hf:a/b", "there is no folder a/b, and model 'hf:a/b' was not pulled\nHint: run `sqlllm"),
    ):
        with sqlllm.connect(model=uri) as db, pytest.raises(sqlllm.ModelMissing) as caught:
            db.execute("SELECT ai.complete('x')")
        assert str(caught.value).startswith(message)


def test_an_embedding_model_may_have_its_configuration_below(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    assert Uri.parse(f"hf:{tmp_path}").there() == tmp_path


def test_a_model_is_loaded_once_however_it_is_written() -> None:
    one, other = load("minilm?dtype=float32"), load("minilm:?dtype=float32")
    assert one is other


def test_a_uri_is_a_name_where_a_default_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, query = save("llama", tmp_path), "SELECT ai.complete('x', max_tokens := 2)"
    uri = f"hf:{folder}?dtype=float32"
    with sqlllm.connect(model=uri) as db:
        db.execute(query)
        ((model,),) = db.execute("SELECT model FROM ai.usage WHERE this_session").fetchall()
        assert model == uri
        assert (uri, uri) in db.execute("SELECT name, uri FROM ai.models").fetchall()
    named = pytest.raises(sqlllm.UnknownModel, match="a query names models that settings have")
    with sqlllm.connect() as db, named:
        db.execute("SELECT ai.complete('x', model := $1)", [uri])
    allowed = pytest.raises(sqlllm.ConfigError, match="is not in allow_models")
    with sqlllm.connect(model=uri, allow_models=["smollm2"]) as db, allowed:
        db.execute(query)
    monkeypatch.setenv("SQLLLM_MODEL", uri)
    assert main(["sql", query]) == 0
    assert f"{uri}: 1 rows, 1 distinct, 1 cached" in capsys.readouterr().err
    monkeypatch.delenv("SQLLLM_MODEL")
    assert main(["explain", "--model", uri, query]) == 0
    assert uri in capsys.readouterr().out
    assert main(["sql", "--model", "gguf:x", query]) == 1
    assert "unknown kind of model 'gguf:x'" in capsys.readouterr().err
