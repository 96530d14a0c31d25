"""What a task has to compute at least, and how long that takes on a machine.

Two percentages come from it. `MFU` says how well the kernels run: operations issued / (seconds x
peak). `SOL%` (speed of light) says how much of the time was needed: `least_seconds` / seconds,
where the work-optimal plan reads every distinct row once, the shared instruction once, pads
nothing, and multiplies only the rows of the output matrix that are asked for (the definition of
fsdatalab's Quail).

Operations are multiplications and additions: a weight costs 2 per token. A token that sees n
tokens costs 4 * layers * heads * head_dim * n in attention (Kaplan et al., arXiv 2001.08361,
table 1). Norms, rotations and activations are left out. The last layer counts whole for every
token, although `engine.last_layer` runs it for a row's last position only: SOL% and our MFU would
be lower by about 1/layers if that was counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a machine can do.

    Attributes:
        flops: Operations per second of the best matrix product.
        bandwidth: Bytes per second of memory.
    """

    flops: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model that decide its cost.

    Attributes:
        layers: Layers with attention.
        attention: Heads x head_dim.
        keys_values: Numbers that a token leaves in the cache, per layer.
        linear: Weights that every token is multiplied with, without the output matrix.
        hidden: Width of the hidden state.
        vocabulary: Rows of the output matrix.
        weight_bytes: Bytes of a number; in int8 it counts keys and the output matrix too low.
        causal: Whether a token sees only what stands before it.
    """

    layers: int
    attention: int
    keys_values: int
    linear: int
    hidden: int
    vocabulary: int
    weight_bytes: int
    causal: bool = True

    @classmethod
    def of(cls, model: Any, weight_bytes: int, *, causal: bool = True) -> Shape:
        """The shape of a transformers model; the weights may be on the meta device."""
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        return cls(
            layers=config.num_hidden_layers,
            attention=heads * size,
            keys_values=2 * kv_heads * size,
            linear=linear_weights(model),
            hidden=config.hidden_size,
            vocabulary=config.vocab_size,
            weight_bytes=weight_bytes,
            causal=causal,
        )

    def tokens(self, count: int, before: int = 0) -> float:
        """Operations of `count` tokens in a row that stand behind `before` others.

        Example:
            >>> shape = Shape(1, 10, 20, 100, 10, 50, 2)
            >>> shape.tokens(3)  # 3 tokens x 2 x 100 weights; they see 1, 2 and 3 tokens
            840.0
            >>> shape.tokens(1, before=2)  # the last of them
            320.0
        """
        if self.causal:
            seen = count * before + count * (count + 1) / 2
        else:
            seen = float(count * (before + count))
        return 2.0 * self.linear * count + 4.0 * self.layers * self.attention * seen

    def logits(self, rows: int) -> float:
        """Operations of one position's product with `rows` rows of the output matrix."""
        return 2.0 * self.hidden * rows

    @property
    def weights(self) -> float:
        """Bytes read by a pass over all layers."""
        return float(self.linear * self.weight_bytes)

    @property
    def output(self) -> float:
        """Bytes of the whole output matrix."""
        return float(self.hidden * self.vocabulary * self.weight_bytes)

    def cache(self, tokens: float) -> float:
        """Bytes of the keys and values of that many tokens."""
        return self.layers * self.keys_values * tokens * self.weight_bytes


def linear_weights(model: Any) -> int:
    """Weights of all linear layers but the output matrix, and a pooler that nobody reads."""
    from torch import nn

    output = model.get_output_embeddings()
    return sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not output and "pooler" not in name
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of work that runs as one: it is bound by arithmetic or by memory."""

    flops: float
    bytes: float

    def seconds(self, peaks: Peaks) -> float:
        """The least time it takes.

        Example:
            >>> Part(flops=100, bytes=10).seconds(Peaks(flops=50, bandwidth=10))
            2.0
        """
        return max(self.flops / peaks.flops, self.bytes / peaks.bandwidth)


def least_seconds(parts: Iterable[Part], peaks: Peaks) -> float:
    """The sum of the parts: each waits for the one before it."""
    return sum(part.seconds(peaks) for part in parts)


def reading(shape: Shape, head: int, bodies: Sequence[int]) -> list[Part]:
    """The shared head once, then every row's own tokens behind it.

    Args:
        shape: The model.
        head: Tokens that all rows begin with.
        bodies: Own tokens of each row.
    """
    own = sum(shape.tokens(body, head) for body in bodies)
    moved = shape.weights + shape.cache(head) + shape.cache(sum(bodies))
    first = [Part(shape.tokens(head), shape.weights + shape.cache(head))] if head else []
    return [*first, Part(own, moved)]


def choosing(shape: Shape, head: int, bodies: Sequence[int], labels: int) -> list[Part]:
    """Reading, and the labels' rows of the output matrix for each row's last position."""
    scored = shape.logits(labels) * len(bodies)
    return [
        *reading(shape, head, bodies),
        Part(scored, float(shape.hidden * labels * shape.weight_bytes)),
    ]


def writing(shape: Shape, head: int, bodies: Sequence[int], written: Sequence[int]) -> list[Part]:
    """Reading, then one step per token for all rows that still write.

    A step reads the weights once, the head's keys and values once, and those of each row.

    Args:
        shape: The model.
        head: Tokens that all rows begin with.
        bodies: Own tokens of each row.
        written: Tokens that each row predicts, the end token included.
    """
    parts = reading(shape, head, bodies)
    for step in range(max(written, default=0)):
        rows = [body for body, count in zip(bodies, written, strict=True) if count > step]
        flops, moved = shape.logits(shape.vocabulary) * len(rows), shape.output
        if step:  # the first token is predicted by the last one read
            flops += sum(shape.tokens(1, head + body + step - 1) for body in rows)
            moved += shape.weights + shape.cache(head + sum(body + step for body in rows))
        parts.append(Part(flops, moved))
    return parts


def embedding(shape: Shape, lengths: Sequence[int]) -> list[Part]:
    """Every text once, without padding."""
    return [Part(sum(shape.tokens(length) for length in lengths), shape.weights)]


def issued(parts: Iterable[Part]) -> float:
    """Operations of all parts."""
    return sum(part.flops for part in parts)


def padded(lengths: Sequence[int], size: int) -> list[int]:
    """What each row becomes in batches of `size` rows of similar length.

    Example:
        >>> padded([1, 5, 2, 4], size=2)
        [2, 2, 5, 5]
    """
    ordered = sorted(lengths)
    return [
        ordered[min(start + size, len(ordered)) - 1]
        for start in range(0, len(ordered), size)
        for _ in ordered[start : start + size]
    ]


def even(total: int, rows: int) -> list[int]:
    """A total spread over rows, where only the total is known.

    Example:
        >>> even(7, 3)
        [3, 2, 2]
    """
    return [total // rows + (row < total % rows) for row in range(rows)]
