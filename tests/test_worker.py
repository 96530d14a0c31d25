"""Passes side by side: the same answers, cores that nobody takes twice, nothing left running."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONFIGS, collect, save

import sqlllm
from sqlllm.engine import int8, worker
from sqlllm.engine.engine import Engine
from sqlllm.engine.memory import Budget
from sqlllm.engine.slots import Slots
from sqlllm.engine.worker import beside, on_model_thread, sides, stepped
from sqlllm.models.causal import CausalModel
from sqlllm.models.sentence import SentenceModel, minilm_folder

torch = pytest.importorskip("torch")

TEXTS = [f"{i}{'x' * (7 * i % 40)}{i}" for i in range(80)]
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"enum": [1, 22, 333]}},
        "required": ["n"],
        "additionalProperties": False,
    }
)
TASKS = [
    sqlllm.Task("complete", system="be brief", max_tokens=9),
    sqlllm.Task("complete", max_tokens=9, temperature=0.8, top_p=0.9, seed=3),
    sqlllm.Task("extract", schema=SCHEMA, max_tokens=12),
    sqlllm.Task("choose", labels=("bug", "bug report", "b"), instruction="What is it?"),
    sqlllm.Task("choose", labels=("yes", "no"), instruction="Is it?", text_first=True),
    sqlllm.Task("choose", labels=("good", "bad"), multi=True),
]


class Cores:
    """Counts who is at work at the same time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.at_work: list[str] = []
        self.seen: set[tuple[str, ...]] = set()

    def work(self, who: str) -> str:
        with self.lock:
            self.at_work.append(who)
            self.seen.add(tuple(sorted(self.at_work)))
        time.sleep(0.005)
        with self.lock:
            self.at_work.remove(who)
        return who


def the_same(got: dict[int, Any], expected: dict[int, Any]) -> bool:
    assert got.keys() == expected.keys()
    return all(
        a == expected[row] if isinstance(a, str) else np.allclose(a, expected[row], atol=1e-5)
        for row, a in got.items()
    )


@pytest.fixture(scope="module", params=["llama", "mistral", "gemma2", "gpt_oss"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


def made(folder: Path, at_once: int) -> CausalModel:
    model = CausalModel(folder, dtype="float32")
    assert isinstance(model._engine, Engine)
    model._engine.at_once = at_once
    model._engine.budget.tokens = 400  # several passes
    return model


def test_answers_are_the_same_one_by_one_and_side_by_side(folder: Path) -> None:
    one, two = made(folder, 1), made(folder, 2)
    names: set[str] = set()
    read = two._engine.read  # type: ignore[union-attr]

    def named(*given: Any, **asked: Any) -> Any:
        names.add(threading.current_thread().name)
        return read(*given, **asked)

    two._engine.read = named  # type: ignore[method-assign,union-attr]
    for task in TASKS:
        names.clear()
        expected, got = (collect(model.answer(task, TEXTS)) for model in (one, two))
        assert set(expected) == set(range(len(TEXTS)))
        assert the_same(got, expected)
        assert {"sqlllm-model-side_0", "sqlllm-model-side_1"} <= names
        assert the_same(collect(two.answer(task, TEXTS[:1])), {0: expected[0]})


@pytest.mark.skipif(bool(int8.missing()), reason=f"int8 {int8.missing()}")
def test_int8_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlllm.engine.trial.precision", lambda _: "float32")
    model = CausalModel(save("llama", tmp_path, initializer_range=0.2), dtype="int8")
    engine = model._engine
    assert isinstance(engine, Engine)
    engine.budget.tokens = 200
    found = []
    for engine.at_once in (1, 2):
        found.append([collect(model.answer(task, TEXTS)) for task in TASKS])
    for expected, got in zip(*found, strict=True):
        assert the_same(got, expected)


def test_memory_that_runs_out_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save("llama", tmp_path)
    one, two = made(folder, 1), made(folder, 2)
    read, failed = two._engine.read, []  # type: ignore[union-attr]

    def scarce(slots: Slots, *given: Any, **asked: Any) -> Any:
        if slots.rows > 6:
            failed.append(slots.rows)
            raise MemoryError
        return read(slots, *given, **asked)

    monkeypatch.setattr(two._engine, "read", scarce)
    for task in TASKS:
        failed.clear()
        two._engine.budget = Budget(400, 256)
        expected = collect(one.answer(task, TEXTS))
        assert the_same(collect(two.answer(task, TEXTS)), expected)
        assert failed


def test_rows_that_are_written_side_by_side_share_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = made(save("llama", tmp_path), 2)
    monkeypatch.setattr(Engine, "rows_for", lambda *_: 20)
    read, rows = Engine.read, set()

    def seen(engine: Engine, slots: Slots, *given: Any, **asked: Any) -> Any:
        rows.add(slots.rows)
        return read(engine, slots, *given, **asked)

    monkeypatch.setattr(Engine, "read", seen)
    texts = [f"{i:02} of them" for i in range(80)]
    assert len(collect(two.answer(TASKS[0], texts))) == len(texts)
    assert rows == {1, 10}  # of the head, and of each side


def test_vectors_side_by_side() -> None:
    model = SentenceModel(minilm_folder(), dtype="float32")
    texts = [f"text {i} " + "word " * (i % 50) for i in range(300)]
    found = []
    for model._at_once in (1, 2):
        found.append(collect(model.embed(sqlllm.Task("embed"), texts)))
    assert the_same(*found)


def test_a_model_that_remembers_runs_one_pass_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dynamic rotations depend on the longest position of the pass, and are kept in the model."""
    monkeypatch.setattr("sqlllm.engine.engine.sides", lambda _: 2)
    plain = save("llama", tmp_path / "plain")
    rotating = save(
        "llama",
        tmp_path / "rotating",
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )
    assert CausalModel(plain, dtype="float32")._engine.at_once == 2
    assert CausalModel(rotating, dtype="float32")._engine.at_once == 1


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_model_says_how_many(tmp_path: Path, kind: str) -> None:
    model = CausalModel(save(kind, tmp_path), dtype="float32")
    assert model._engine.at_once == (1 if kind == "bloom" else sides("cpu"))


def test_all_cores_or_one_side_each_never_more() -> None:
    cores = Cores()

    def alone() -> None:
        for _ in range(10):
            on_model_thread(cores.work, "all")

    threads = [threading.Thread(target=alone) for _ in range(2)]
    for thread in threads:
        thread.start()
    for who in ("a", "b"):
        assert {item for item, _ in beside(cores.work, [who] * 20, at_once=2)} == {who}
    for thread in threads:
        thread.join()
    assert cores.seen <= {("all",), ("a",), ("b",), ("a", "a"), ("b", "b")}
    assert {("all",), ("a", "a"), ("b", "b")} <= cores.seen


def test_who_needs_all_cores_waits_for_one_pass_only() -> None:
    done: list[int] = []

    def slow(i: int) -> None:
        time.sleep(0.02)
        done.append(i)

    with closing(beside(slow, range(200), at_once=2)) as passes:
        next(passes)
        before = len(done)
        on_model_thread(time.sleep, 0)
        assert len(done) - before <= 12
    assert len(done) < 40


def test_results_come_as_they_are_done_and_errors_after_what_runs() -> None:
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        ended.append(seconds)
        if seconds < 0.02:
            raise ZeroDivisionError
        return seconds

    ended: list[float] = []
    assert [item for item, _ in beside(wait, [0.4, 0.03], at_once=2)] == [0.03, 0.4]
    ended.clear()
    with pytest.raises(ZeroDivisionError):
        list(beside(wait, [0.2, 0.01, 0.3, 0.4, 0.5], at_once=2))
    assert sorted(ended) in ([0.01, 0.2], [0.01, 0.2, 0.3])  # what had begun
    ended.clear()
    with closing(beside(wait, [0.1] * 50, at_once=2)) as results:
        next(results)
    count = len(ended)
    assert count <= 4
    time.sleep(0.15)
    assert len(ended) == count


def test_steps_of_several_come_as_they_are_made() -> None:
    where: dict[str, set[str]] = {"slow": set(), "fast": set()}

    def steps(name: str, seconds: float, count: int) -> Iterator[str]:
        for i in range(count):
            time.sleep(seconds)
            where[name].add(threading.current_thread().name.rpartition("_")[0])
            yield f"{name}{i}"

    found = list(stepped(steps("slow", 0.3, 4), steps("fast", 0.01, 4)))
    assert sorted(found) == sorted(f"{name}{i}" for name in where for i in range(4))
    assert found[:2] == ["fast0", "fast1"]
    assert where["fast"] == {"sqlllm-model-side"}
    assert where["slow"] == {"sqlllm-model-side", "sqlllm-model"}  # all cores for the last
    assert list(stepped()) == []

    def broken() -> Iterator[str]:
        yield "first"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stepped(broken(), steps("slow", 0.01, 100)))
    left = stepped(steps("slow", 0.01, 100), steps("fast", 0.01, 100))
    next(left)
    left.close()  # type: ignore[attr-defined]
    assert on_model_thread(max, 1, 2) == 2


def test_a_model_thread_waits_for_no_other() -> None:
    def inside(_: int) -> list[Any]:
        return [*beside(abs, [-1, -2], at_once=2), *stepped(iter("ab"), iter("c"))]

    expected = [(-1, 1), (-2, 2), "a", "b", "c"]
    assert on_model_thread(inside, 0) == expected
    assert [found for _, found in beside(inside, range(4), at_once=2)] == [expected] * 4


CHECK = """
import threading, torch
torch.set_num_threads({all})
from sqlllm.engine.worker import beside, on_model_thread, sides
def threads(_):
    (torch.randn(300, 300) @ torch.randn(300, 300)).exp()
    return torch.get_num_threads()
assert sides("cpu") == {sides}, sides("cpu")
assert {{found for _, found in beside(threads, range(20), at_once=2)}} == {{{share}}}
assert on_model_thread(threads, 0) == threads(0) == {all}
late = []
thread = threading.Thread(target=lambda: late.append(threads(0)))
thread.start(); thread.join()
assert late == [{all}], late
"""


@pytest.mark.parametrize(("threads", "sides", "share"), [(1, 1, 1), (2, 2, 1), (5, 2, 2)])
def test_each_side_has_its_share_and_other_threads_keep_theirs(
    threads: int, sides: int, share: int
) -> None:
    code = CHECK.format(all=threads, sides=sides, share=share)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(not hasattr(worker.os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests' threads
def test_a_fork_has_threads_of_its_own() -> None:
    assert len(list(beside(abs, range(4), at_once=2))) == 4
    child = worker.os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if len(list(beside(abs, range(4), at_once=2))) == 4 else 2
        finally:
            worker.os._exit(code)
    assert worker.os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not hasattr(worker.os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests' threads
def test_a_fork_waits_for_no_model_that_another_thread_loads_or_asks() -> None:
    """It waited for a lock whose holder was not there."""
    from sqlllm.engine.prompt import _ENCODING
    from sqlllm.models.registry import _LOADING

    with _LOADING, _ENCODING:
        child = worker.os.fork()
        if child == 0:
            worker.os._exit(not all(lock.acquire(timeout=5) for lock in (_LOADING, _ENCODING)))
    assert worker.os.waitpid(child, 0)[1] == 0
