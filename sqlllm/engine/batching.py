"""Which rows go to the model together, and reading the next ones meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from sqlllm.engine.worker import thread

Item = TypeVar("Item")
Result = TypeVar("Result")

ENOUGH = 64
"""Tokens of a pass from which on two passes side by side on a CPU are faster than one."""

WINDOW_ROWS, WINDOW_CHARACTERS = 4096, 1 << 21  # texts that are token ids at the same time, twice


def by_tokens(lengths: Mapping[int, int], budget: int, at_once: int = 1) -> Iterator[list[int]]:
    """Rows of similar length, the longest first, in even batches within `budget` padded tokens.

    Args:
        lengths: Row -> tokens.
        budget: Most tokens of a batch, padding included; a longer row goes alone.
        at_once: Batches that run side by side: as many or a multiple of it, so that all have
            something to do, where each gets `ENOUGH` tokens.

    Example:
        >>> list(by_tokens({0: 5, 1: 1, 2: 4, 3: 20}, budget=10))
        [[3], [0, 2], [1]]
        >>> [len(batch) for batch in by_tokens(dict.fromkeys(range(12), 1), budget=10)]
        [6, 6]
        >>> [len(batch) for batch in by_tokens(dict.fromkeys(range(12), 50), 1000, at_once=2)]
        [6, 6]
    """
    total = sum(lengths.values())
    if total < at_once * ENOUGH:
        at_once = 1
    even = total / max(at_once * -(-total // (budget * at_once)), 1)  # no scrap at the end
    batch: list[int] = []
    size = 0
    for row in sorted(lengths, key=lambda row: (-lengths[row], row)):
        if batch and (lengths[batch[0]] * (len(batch) + 1) > budget or size >= even):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += lengths[row]
    if batch:
        yield batch


def windows(texts: Sequence[str], *, by_text: bool = False) -> Iterator[list[int]]:
    """Positions of texts in parts of bounded size.

    Characters stand for tokens here, so that no more than a part's tokens exist at a time.

    Args:
        texts: Any.
        by_text: Those that begin alike come together; else those of similar length, the longest
            first.
    """
    part: list[int] = []
    size = 0
    for row in sorted(
        range(len(texts)), key=lambda row: (texts[row] if by_text else -len(texts[row]), row)
    ):
        size += len(texts[row])
        if part and (len(part) == WINDOW_ROWS or size > WINDOW_CHARACTERS):
            yield part
            part, size = [], len(texts[row])
        part.append(row)
    if part:
        yield part


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`map`, with the next result computed by another thread while one is used.

    Example:
        >>> list(ahead(len, ["a", "bcd"]))
        [1, 3]
    """
    tokens = thread("sqlllm-tokens")
    coming: deque[Future[Result]] = deque()
    try:
        for item in items:
            coming.append(tokens.submit(function, item))
            if len(coming) > 1:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
    finally:
        for left in coming:
            left.cancel()
