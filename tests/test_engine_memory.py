"""What fits in memory: how much is free, batches that follow it, and what is let go."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import save

from sqlllm.engine import memory
from sqlllm.engine.engine import Engine
from sqlllm.engine.memory import Budget, free_bytes, halving, ran_out
from sqlllm.models.causal import CausalModel

torch = pytest.importorskip("torch")


def test_what_a_pass_that_ran_out_of_memory_held_is_free_when_it_is_tried_again() -> None:
    import weakref

    held: list[weakref.ref[Any]] = []

    class Large:
        pass

    def run(rows: list[int]) -> int:
        assert all(ref() is None for ref in held)
        large = Large()
        held.append(weakref.ref(large))
        if len(rows) > 1:
            raise MemoryError
        return len(rows)

    lengths = dict.fromkeys(range(4), 5)
    assert sum(count for _, count in halving(lengths, Budget(20, 4), run)) == 4
    assert len(held) > 4


def test_rows_that_have_room_one_at_a_time() -> None:
    alone = threading.Lock()

    def run(rows: list[int]) -> int:
        if not alone.acquire(blocking=False):
            raise MemoryError
        time.sleep(0.05)
        alone.release()
        return len(rows)

    found = list(halving({0: 100, 1: 90, 2: 80}, Budget(100, 1), run, at_once=2))
    assert sorted(row for rows, _ in found for row in rows) == [0, 1, 2]


def test_rows_without_their_beginnings_are_as_long_as_they_are() -> None:
    batches: list[list[int]] = []

    def run(rows: list[int]) -> None:
        batches.append(rows)
        if len(batches) == 1:
            raise MemoryError

    longer = iter([dict.fromkeys(range(4), 20)])
    list(halving(dict.fromkeys(range(4), 5), Budget(20, 4), run, lambda: next(longer, None)))
    assert batches == [[0, 1, 2, 3], [0], [1], [2], [3]]


def test_rows_that_are_written_take_half_of_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 1000)
    assert [memory.rows_that_fit(10, "cpu", most) for most in (256, 8)] == [50, 8]
    assert memory.rows_that_fit(900, "cpu", 8) == 1


@pytest.mark.parametrize("message", ["CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x"])
def test_words_for_memory_that_ran_out(message: str) -> None:
    assert ran_out(RuntimeError(message))
    assert not ran_out(RuntimeError("CUDA error: an illegal memory access"))


def test_heads_of_four_tasks_are_kept_and_go_when_memory_runs_out(tmp_path: Path) -> None:
    engine = CausalModel(save("llama", tmp_path), dtype="float32")._engine
    assert isinstance(engine, Engine)
    for first in (0, 1, 2, 3, 1, 4, 5):
        engine.prefix((first, 7, 7))
    assert [first for first, *_ in engine._prefixes] == [3, 1, 4, 5]
    assert engine.let_go((1, 7, 7))
    assert list(engine._prefixes) == [(1, 7, 7)]
    assert not engine.let_go((1, 7, 7))


def test_pages_of_files_count_as_free_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("400000000\n")
    (tmp_path / "memory.current").write_text("300000000\n")
    (tmp_path / "memory.stat").write_text(
        "anon 50000000\ninactive_file 200000000\nactive_file 50000000\n"
    )
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes("cpu") == 350_000_000
    for more_than_there_is in ("max", str(1 << 60)):
        (tmp_path / "memory.max").write_text(f"{more_than_there_is}\n")
        assert 350_000_000 < free_bytes("cpu") < 1 << 50
