"""In which precision `sqlllm bench` measures: int8, and what the URIs of models ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sqlllm import ConfigError
from sqlllm.bench import Options, run
from sqlllm.engine import int8


@pytest.mark.skipif(bool(int8.missing()), reason=f"int8 {int8.missing()}")
@pytest.mark.usefixtures("small_products")
def test_int8_beside_others_in_what_they_run_in(smollm2: Path) -> None:
    chosen = Options(config="tiny", dtype="int8", quick=True, baselines=["static"])
    found = run(replace(chosen, only=["complete"])).to_dict()
    assert found["machine"]["dtype"] == "int8"
    (table,) = found["workloads"]
    assert table["notes"][0].startswith("ours in int8, whose peak every MFU and SOL is against")
    assert {method["kind"] for method in table["methods"]} == {"sqlllm", "static"}
    assert all(method["rows_per_second"] > 0 for method in table["methods"])
    assert "embed" not in replace(chosen, dtype="int8").workloads
    with pytest.raises(ConfigError, match="embed doesn't run in int8"):
        replace(chosen, dtype="int8", only=["embed"])


def test_precisions_in_the_uris_of_models(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = Options(model="smollm2:?dtype=float32", embed_model="minilm:?dtype=bfloat16")
    with pytest.raises(ConfigError, match="URIs ask for bfloat16 and float32"):
        run(two)
    monkeypatch.setattr("sqlllm.engine.device.device", lambda: "cuda")
    with pytest.raises(ConfigError, match="int8 is for CPUs, and this is cuda"):
        run(Options(model="smollm2:?dtype=int8", only=["classify"]))
