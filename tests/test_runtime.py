from __future__ import annotations

import threading

import pyarrow as pa
import pytest

import sqlllm
from sqlllm.runtime.cache import MemoryCache
from sqlllm.runtime.flight import Flights, Ticket
from sqlllm.runtime.runtime import Caller, Runtime


class LateCache(MemoryCache):
    """Answers the first look-up as if another thread's answer had not landed yet."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.lookups = 0

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        self.lookups += 1
        return [None] * len(keys) if self.lookups == 3 else super().get_many(keys)


def test_an_answer_that_lands_after_the_look_up_is_not_asked_for_again() -> None:
    fake = sqlllm.FakeModel(lambda task, text: text.upper())
    settings = sqlllm.Settings(models={"fake": fake}, model="fake", progress=False)
    runtime = Runtime(settings, cache=LateCache())
    for _ in range(2):  # look-ups 1 and 2, then 3 and 4
        answers = runtime.run(sqlllm.Task("complete"), pa.array(["a", None]), Caller("complete"))
        assert answers.to_pylist() == ["A", None]
    assert fake.inputs == ["a"]


def test_what_an_interrupted_thread_wanted_is_not_computed_by_the_next() -> None:
    flights, computed = Flights(), []

    def interrupted(waiting: list[Ticket]) -> None:
        raise KeyboardInterrupt

    def compute(waiting: list[Ticket]) -> None:
        computed.extend(ticket.text for ticket in waiting)
        for ticket in waiting:
            ticket.answer, ticket.done = b"", True

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
