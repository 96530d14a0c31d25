from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

import sqlllm
from sqlllm.runtime.cache import BlockCache
from sqlllm.runtime.flight import Flights, Ticket
from sqlllm.runtime.keys import Lane
from sqlllm.runtime.runtime import Caller, Runtime


def test_an_answer_that_lands_after_the_look_up_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The third look-up is answered as if another thread's answer had not landed yet."""
    lookups, find = [], BlockCache.find

    def late(cache: BlockCache, lane: Lane, keys: Any) -> Any:
        lookups.append(lane)
        return pa.nulls(len(keys), pa.binary()) if len(lookups) == 3 else find(cache, lane, keys)

    monkeypatch.setattr(BlockCache, "find", late)
    fake = sqlllm.FakeModel(lambda task, text: text.upper())
    runtime = Runtime(sqlllm.Settings(models={"fake": fake}, model="fake", progress=False))
    for _ in range(2):  # look-ups 1 and 2, then 3 and 4
        answers = runtime.run(sqlllm.Task("complete"), pa.array(["a", None]), Caller("complete"))
        assert answers.to_pylist() == ["A", None]
    assert fake.inputs == ["a"]
    assert len(lookups) == 4


def test_what_an_interrupted_thread_wanted_is_not_computed_by_the_next() -> None:
    flights, computed = Flights(), []

    def interrupted(waiting: list[Ticket]) -> None:
        raise KeyboardInterrupt

    def compute(waiting: list[Ticket]) -> None:
        computed.extend(ticket.text for ticket in waiting)
        for ticket in waiting:
            ticket.land(pa.array([b""]), 0)

    hold, started = threading.Event(), threading.Event()

    def first() -> None:
        def wait(waiting: list[Ticket]) -> None:
            started.set()
            hold.wait(10)
            compute(waiting)

        flights.fly(b"lane", [(b"0", "zero")], wait)

    def second() -> None:
        with pytest.raises(KeyboardInterrupt):
            flights.fly(b"lane", [(b"1", "one"), (b"2", "two")], interrupted)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    started.wait(10)
    threads[1].start()
    hold.set()
    for thread in threads:
        thread.join()
    assert flights.fly(b"lane", [(b"2", "two")], compute)[0].done
    assert computed == ["zero", "two"]


def test_a_model_that_loses_inputs_is_an_error() -> None:
    class Lossy(sqlllm.FakeModel):
        def complete(self, task, inputs):  # type: ignore[no-untyped-def]
            yield from super().complete(task, inputs[:1])

    fake = Lossy(lambda task, text: text)
    with (
        sqlllm.connect(models={"fake": fake}, model="fake") as db,
        pytest.raises(sqlllm.ModelError, match="left 1 of 2 inputs without an answer"),
    ):
        db.execute("SELECT ai.complete(x) FROM (VALUES ('a'), ('b')) t(x)")
