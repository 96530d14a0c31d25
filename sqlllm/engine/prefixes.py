"""Tokens that rows begin with in common: all of them, or groups of them.

Rows made from a template have a beginning that all share; the pairs of a join (`ai.match`) and
templates with values that come again (`ai.prompt('{0} ... {1}', product, review)`) have one for
each value. Each is read once, and the rows behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

LEAST = 8
"""Tokens of a beginning that is read once: fewer aren't worth passes of their own."""

Tokens = tuple[int, ...]
Row = TypeVar("Row", list[int], tuple[int, ...])


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that begin alike.

    Attributes:
        rows: Which.
        prefix: The tokens that all of them begin with; each has one more at least.
    """

    rows: tuple[int, ...]
    prefix: Tokens

    @property
    def saved(self) -> int:
        """Tokens that needn't be read."""
        return (len(self.rows) - 1) * len(self.prefix)


def common(rows: Collection[Row]) -> int:
    """How many tokens all rows begin with, when each keeps one of its own; 0 for a single row.

    Example:
        >>> common([[1, 2, 3], [1, 2, 4]]), common([[1, 2], [1, 2, 4]]), common([[1, 2]])
        (2, 1, 0)
    """
    if len(rows) < 2:
        return 0
    same = agreeing(min(rows), max(rows))  # what these two share, all share
    return max(min(same, min(map(len, rows)) - 1), 0)


def agreeing(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of the first tokens are the same.

    Example:
        >>> agreeing([1, 2, 3], [1, 2, 4, 5])
        2
    """
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def shared(head: Tokens, bodies: Mapping[int, list[int]]) -> tuple[Tokens, dict[int, list[int]]]:
    """Move the tokens that all rows begin with to the head, where they are read once.

    The tokens of a row stay the same, and so does its answer.

    Example:
        >>> shared((9,), {0: [1, 2, 3], 1: [1, 2, 4]})
        ((9, 1, 2), {0: [3], 1: [4]})
    """
    same = common(bodies.values())
    first = next(iter(bodies.values()), [])[:same]
    return (*head, *first), {row: body[same:] for row, body in bodies.items()}


def groups(bodies: Mapping[int, list[int]], least: int = LEAST) -> list[Group]:
    """Groups of rows that begin alike, so chosen that few tokens are left to read.

    Of rows in sorted order, those that share n tokens stand together, within those that share
    fewer: a tree, the LCP intervals of suffix arrays (Abouelhoda, Kurtz and Ohlebusch, "Replacing
    suffix trees with enhanced suffix arrays", 2004). From the leaves up, the rows of an interval
    become a group if that saves tokens, and groups within it stay where they save more.

    Args:
        bodies: Row -> its tokens.
        least: Fewest tokens of a beginning.

    Returns:
        Groups of two rows at least; rows that share nothing are in none.

    Example:
        >>> rows = {0: [1, 2, 3, 4], 1: [5, 6], 2: [1, 2, 3, 7], 3: [1, 2, 8]}
        >>> groups(rows, least=2)
        [Group(rows=(0, 2, 3), prefix=(1, 2))]
        >>> groups(rows, least=3)
        [Group(rows=(0, 2), prefix=(1, 2, 3))]
    """
    order = sorted(bodies, key=lambda row: (bodies[row], row))
    open_ = [_Interval(0)]
    for at, row in enumerate(order):
        following = order[at + 1] if at + 1 < len(order) else None
        same = 0 if following is None else common([bodies[row], bodies[following]])
        same = same if same >= least else 0
        if open_[-1].size < same:
            open_.append(_Interval(same))
        open_[-1].free.append(row)
        while open_[-1].size > same:
            done = open_.pop()
            done.close()
            if open_[-1].size < same:
                open_.append(_Interval(same))
            open_[-1].free += done.free
            open_[-1].found += done.found
    found = open_[0].found
    return [Group(tuple(sorted(rows)), tuple(bodies[rows[0]][:size])) for rows, size in found]


@dataclass(slots=True)
class _Interval:
    """Rows that share `size` tokens: in groups that share more, or `free`."""

    size: int
    free: list[int] = field(default_factory=list)
    found: list[tuple[list[int], int]] = field(default_factory=list)  # rows, size

    def close(self) -> None:
        """Make a group of the free rows, and of groups whose rows save more in it."""
        staying, rows, saved = [], list(self.free), 0
        for group, size in self.found:
            if len(group) * self.size > _saved(group, size):
                rows += group
                saved += _saved(group, size)
            else:
                staying.append((group, size))
        if _saved(rows, self.size) > saved:
            self.free, self.found = [], [*staying, (rows, self.size)]


def _saved(rows: Sequence[int], size: int) -> int:
    """Tokens that needn't be read where rows share so many."""
    return (len(rows) - 1) * size


def blocks(found: Iterable[Group], room: int) -> Iterator[list[Group]]:
    """Groups whose prefixes, of at most `room` tokens each, have no more together.

    Example:
        >>> a, b = Group((0, 1), (1, 2, 3)), Group((2, 3), (4, 5))
        >>> [len(block) for block in blocks([a, b], 5)], [len(block) for block in blocks([a, b], 4)]
        ([2], [1, 1])
    """
    block: list[Group] = []
    size = 0
    for group in found:
        if block and size + len(group.prefix) > room:
            yield block
            block, size = [], 0
        block.append(group)
        size += len(group.prefix)
    if block:
        yield block
