"""What `sqlllm bench` reads of memory: in processes of their own, and the median of its rounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import save
from transformers import AutoTokenizer

from sqlllm.bench import Options, Report, rounds
from sqlllm.bench.limits import Peaks
from sqlllm.bench.memory import CALLS, Footprint, footprint
from sqlllm.bench.method import Skipped


@pytest.mark.parametrize("model", ["tiny", "of a folder"])
def test_memory_is_measured_in_a_process_of_its_own(
    model: str, smollm2: Path, tmp_path: Path
) -> None:
    if model != "tiny":
        words = AutoTokenizer.from_pretrained(smollm2, local_files_only=True)
        model = f"hf:{save('llama', tmp_path, tokens=words)}"
    found = footprint("filter", 20, dtype="float32", model=model)
    assert (found.function, found.rows, found.result_bytes) == ("filter", 20, 20 * 2 * 4)
    assert found.peak_bytes > 0


def test_memory_is_the_median_of_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = {200: [70, 50, 60], 2_000: [90, 300, 80]}
    asked: list[tuple[str, int, str]] = []

    def read(function: str, rows: int, *, dtype: str | None, model: str) -> Footprint:
        if function == "filter":
            raise Skipped("no room")
        at = sum(of == function and count == rows for of, count, _ in asked)
        asked.append((function, rows, model))
        return Footprint(function, rows, readings[rows][at], 0)

    monkeypatch.setattr(rounds, "footprint", read)
    report = Report({}, {}, Peaks(1.0, 1.0), 1.0)
    options = Options(quick=True, embed_model="e", memory_model="m")
    rounds.Rounds(options, "cpu", "float32", report, lambda _: None).memory()
    assert [(few.peak_bytes, many.peak_bytes) for few, many in report.pairs()] == [(60, 90)] * 2
    assert report.skipped == {"memory of filter": "no room"}
    assert {function: model for function, _, model in asked} == {"embed": "e", "classify": "m"}
    assert set(CALLS) == {"embed", "classify", "filter"}
