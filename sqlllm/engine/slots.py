"""Keys and values of rows' tokens, where attention finds them again."""

from __future__ import annotations

from typing import Any


class Slots:
    """Keys and values of rows: per layer (rows, heads, capacity, size), as products read them.

    A layer's tensors are made with its first keys, whose shape they take from the model itself.

    Args:
        rows: How many rows.
        capacity: Most tokens of a row.
        passing: Nothing is read behind these tokens in another pass: a layer's tensors then go
            when the next layer makes its own.
    """

    def __init__(self, rows: int, capacity: int, *, passing: bool = False) -> None:
        self.rows = rows
        self.capacity = capacity
        self.passing = passing
        self._layers: dict[int, tuple[Any, Any]] = {}

    def write(self, layer: int, rows: Any, places: Any, keys: Any, values: Any) -> None:
        """Keep keys and values, each (tokens, heads, size), at `places` of `rows`."""
        kept_keys, kept_values = self._made(layer, keys, values)
        kept_keys[rows, :, places] = keys
        kept_values[rows, :, places] = values

    def _made(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """A layer's tensors, for keys and values of the shape (..., heads, [tokens,] size)."""
        heads = keys.shape[1]
        if layer not in self._layers:
            if self.passing:
                self._layers.clear()
            # Zeros: what is masked out must be finite. Untouched pages take no memory.
            self._layers[layer] = (
                keys.new_zeros(self.rows, heads, self.capacity, keys.shape[-1]),
                values.new_zeros(self.rows, heads, self.capacity, values.shape[-1]),
            )
        return self._layers[layer]

    def read(self, layer: int, first: int, rows: int, length: int) -> tuple[Any, Any]:
        """Of rows from `first` on, the first `length`: each (rows, heads, length, size)."""
        keys, values = self._layers[layer]
        part = slice(first, first + rows)
        return keys[part, :, :length], values[part, :, :length]

    def move(self, sources: list[int], targets: list[int]) -> None:
        """Copy rows over others."""
        import torch

        with torch.inference_mode():
            for tensors in self._layers.values():
                for tensor in tensors:
                    tensor[targets] = tensor[sources]

    def copy(self, others: Slots, sources: list[int], targets: list[int], length: int) -> None:
        """Copy the first `length` tokens of rows of others over rows of these."""
        import torch

        with torch.inference_mode():
            for layer, theirs in others._layers.items():
                for tensor, other in zip(self._made(layer, *theirs), theirs, strict=True):
                    tensor[targets, :, :length] = other[sources, :, :length]

    def bytes_per_token(self) -> int:
        """Of one token of one row, all layers."""
        tensors = [tensor for pair in self._layers.values() for tensor in pair]
        return sum(t.element_size() * t.numel() // (self.rows * self.capacity) for t in tensors)
