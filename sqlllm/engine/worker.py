"""The threads that load and run models: one that uses all cores, or several that share them.

OpenMP keeps a team of threads for each thread that calls torch, and a query may call from any of
DuckDB's. As soon as the teams at work have more threads than there are cores, all of them sleep
where they would have waited a moment, and the same work takes 1.2 times as long (libgomp, two
cores). So either the one thread runs a pass on all cores, or `SIDES` others run one each, on as
many cores as they share: while one pass waits for its team, or for Python, the other computes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache
from typing import Any, TypeVar

NAME = "sqlllm-model"

SIDES = 2
"""Passes that run side by side on a CPU. On two Zen 4 cores, one each, minilm embeds 1.18 times as
fast as with all cores in every pass, and SmolLM2 chooses 1.1 and writes 1.2 times as fast."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def thread(name: str) -> ThreadPoolExecutor:
    """The one thread of this name, which stays: the memory of one that ends is not used again
    by the next, which gets a part of its own from malloc (glibc).

    Example:
        >>> thread("sqlllm-example").submit(max, 1, 2).result()
        2
    """
    return ThreadPoolExecutor(1, thread_name_prefix=name)


@cache
def _sides() -> ThreadPoolExecutor:
    """The threads that share the cores."""
    return ThreadPoolExecutor(SIDES, NAME + "-side", _share, (on_model_thread(_threads),))


def _share(cores: int) -> None:
    """Run in each side's thread before anything else."""
    import torch

    torch.get_num_threads()  # the first time that torch asks, it sets what is set for all
    torch.set_num_threads(max(cores // SIDES, 1))
    # That is also what threads start with from now on, which is not ours to change.
    again = threading.Thread(target=torch.set_num_threads, args=(cores,))
    again.start()
    again.join()


class _Turns:
    """Shares of the cores, one for each side; who waits for all of them keeps others out."""

    def __init__(self) -> None:
        self._next = threading.Lock()
        self._shares = threading.Semaphore(SIDES)

    def run(self, shares: int, function: Callable[..., Result], *given: Any) -> Result:
        with self._next:
            for _ in range(shares):
                self._shares.acquire()
        try:
            return function(*given)
        finally:
            self._shares.release(shares)


_turns = _Turns()


def _forget() -> None:
    """Threads don't survive a fork, and those that waited for their turn are gone, too."""
    global _turns
    thread.cache_clear()
    _sides.cache_clear()
    _turns = _Turns()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def sides(device: str) -> int:
    """How many passes to run side by side: only CPUs gain, and only with a core for each.

    Example:
        >>> sides("cuda")
        1
    """
    return SIDES if device == "cpu" and on_model_thread(_threads) >= SIDES else 1


def on_model_thread(function: Callable[..., Result], *given: Any) -> Result:
    """What the function returns or raises, run by the thread that uses all cores.

    Example:
        >>> on_model_thread(max, 1, 2)
        2
    """
    if _is_ours():
        return function(*given)
    return thread(NAME).submit(_turns.run, SIDES, function, *given).result()


def beside(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[tuple[Item, Result]]:
    """Each item with what the function returns for it, in the order in which they are done.

    Args:
        function: What the models' threads run.
        items: Any.
        at_once: 1: one after the other, on all cores; more: side by side. One more than run waits,
            so that no core waits for whoever takes the results.

    Example:
        >>> sorted(beside(len, ["a", "bcd"], at_once=2))
        [('a', 1), ('bcd', 3)]
    """
    if at_once <= 1 or _is_ours():
        for item in items:
            yield item, on_model_thread(function, item)
        return
    running: dict[Future[Result], Item] = {}
    try:
        for item in items:
            running[_aside(function, item)] = item
            if len(running) > at_once:
                yield from _done(running)
        while running:
            yield from _done(running)
    finally:
        _end(running)


def stepped(*iterables: Iterable[Item]) -> Iterator[Item]:
    """The items, each step of their making run by the models' threads.

    Of several iterables they come as they are made: these run side by side, and the one that is
    left at the end on all cores.

    Example:
        >>> list(stepped(x * x for x in (1, 2)))
        [1, 4]
    """
    nothing: Any = object()
    left = [iter(each) for each in iterables]
    running: dict[Future[Item], Iterator[Item]] = {}
    try:
        if len(left) > 1 and not _is_ours():
            running = {_aside(next, each, nothing): each for each in left}
        while running:
            for each, item in list(_done(running)):
                if item is nothing:
                    left.remove(each)
                    continue
                if len(left) > 1:
                    running[_aside(next, each, nothing)] = each
                yield item
    finally:
        _end(running)
    for each in left:
        while (item := on_model_thread(next, each, nothing)) is not nothing:
            yield item


def _is_ours() -> bool:
    return threading.current_thread().name.startswith(NAME)


def _aside(function: Callable[..., Result], *given: Any) -> Future[Result]:
    return _sides().submit(_turns.run, 1, function, *given)


def _done(running: dict[Future[Result], Item]) -> Iterator[tuple[Item, Result]]:
    """The next that are done, taken out."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        of = running.pop(future)
        yield of, future.result()


def _end(running: Iterable[Future[Any]]) -> None:
    """Wait for what runs: nobody else may use its memory before."""
    for future in running:
        future.cancel()
    wait(running)
