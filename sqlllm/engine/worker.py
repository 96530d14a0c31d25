"""One thread that loads and runs all models.

OpenMP keeps a team of threads for each thread that calls torch, and a query may call from any of
DuckDB's. As soon as two teams have more threads than there are cores, all of them sleep where they
would have waited a moment, and the same work takes 1.2 times as long (libgomp, two cores). And as
each pass uses all cores, one at a time is fastest.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

NAME = "sqlllm-model"

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


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=thread.cache_clear)  # threads don't survive one


def on_model_thread(function: Callable[..., Result], *given: Any) -> Result:
    """What the function returns or raises, run by the models' thread.

    Example:
        >>> on_model_thread(max, 1, 2)
        2
    """
    if threading.current_thread().name.startswith(NAME):
        return function(*given)
    return thread(NAME).submit(function, *given).result()


def stepped(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each step of their making run by the models' thread.

    Example:
        >>> list(stepped(x * x for x in (1, 2)))
        [1, 4]
    """
    iterator = iter(items)
    nothing: Any = object()
    while (item := on_model_thread(next, iterator, nothing)) is not nothing:
        yield item
