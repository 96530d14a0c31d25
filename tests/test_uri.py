"""URIs of models: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sqlllm
from sqlllm.models.known import signature
from sqlllm.models.registry import Registry
from sqlllm.models.uri import DTYPES, SCHEMES, Uri

PLACES = st.text(st.characters(codec="utf-8", exclude_characters="?\0"), max_size=30)


@given(st.sampled_from(sorted(SCHEMES)), PLACES, st.sampled_from([None, *DTYPES]))
def test_parts_are_what_was_written(scheme: str, place: str, dtype: str | None) -> None:
    written = f"{scheme}:{place}" + (f"?dtype={dtype}" if dtype else "")
    assert Uri.parse(written) == Uri(scheme, place, dtype)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("smollm2", "unknown kind of model 'smollm2'"),
        ("gguf:x", "unknown kind of model 'gguf:x'"),
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
