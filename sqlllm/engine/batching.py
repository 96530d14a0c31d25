"""Which rows go to the model together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def by_tokens(lengths: Mapping[int, int], budget: int) -> Iterator[list[int]]:
    """Rows of similar length, in batches whose padded size stays within `budget` tokens.

    Args:
        lengths: Row -> tokens.
        budget: Most tokens of a batch, padding included; a longer row goes alone.

    Example:
        >>> list(by_tokens({0: 5, 1: 1, 2: 4, 3: 20}, budget=10))
        [[1, 2], [0], [3]]
    """
    batch: list[int] = []
    for row in sorted(lengths, key=lambda row: (lengths[row], row)):
        if batch and lengths[row] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
