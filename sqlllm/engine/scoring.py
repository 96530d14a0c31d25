"""How probable each label is as the answer, in one forward pass per row, without decoding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlllm.engine.kept import lay
from sqlllm.engine.slots import Slots

if TYPE_CHECKING:
    from sqlllm.engine.engine import Engine
    from sqlllm.engine.kept import Begun

ROOT = -1  # the last token of the prompt, which predicts the first token of every label


@dataclass(frozen=True, slots=True)
class LabelTrie:
    """Labels as a tree of tokens, so that a beginning that several share is read once.

    Attributes:
        tokens: The token of each inner node. Leaves are predicted, never read.
        parents: The parent of each inner node, before it in the list, or `ROOT`.
        paths: For each label, (node that predicts, token predicted) for every token.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    paths: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def build(cls, labels: Sequence[Sequence[int]]) -> LabelTrie:
        """The tree of these labels, each at least one token long.

        Example:
            >>> LabelTrie.build([[1, 2], [1, 3]])
            LabelTrie(tokens=(1,), parents=(-1,), paths=(((-1, 1), (0, 2)), ((-1, 1), (0, 3))))
        """
        nodes: dict[tuple[int, int], int] = {}
        paths = []
        for label in labels:
            at, path = ROOT, [(ROOT, label[0])]
            for token, following in pairwise(label):
                at = nodes.setdefault((at, token), len(nodes))
                path.append((at, following))
            paths.append(tuple(path))
        return cls(
            tuple(token for _, token in nodes), tuple(parent for parent, _ in nodes), tuple(paths)
        )

    def following(self) -> dict[int, list[tuple[int, int]]]:
        """Node -> (label, token) for every token that it predicts."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for label, path in enumerate(self.paths):
            for node, token in path:
                found[node].append((label, token))
        return found

    def parts(self, most: int) -> list[list[int]]:
        """Nodes in groups of whole branches, each of about `most` nodes, so that none is large."""
        branch: list[int] = []
        groups: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            branch.append(node if parent == ROOT else branch[parent])
            groups.setdefault(branch[node], []).append(node)
        parts: list[list[int]] = []
        for nodes in groups.values():
            if not parts or len(parts[-1]) + len(nodes) > most:
                parts.append([])
            parts[-1] += nodes
        return parts

    def above(self, nodes: Sequence[int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether node j of `nodes`, whole branches, is node i or above it, [i, j]."""
        place = {node: i for i, node in enumerate(nodes)}
        table = np.eye(len(nodes), dtype=bool)
        for i, node in enumerate(nodes):
            if self.parents[node] != ROOT:
                table[i] |= table[place[self.parents[node]]]
        return table


def score(
    engine: Engine,
    head: tuple[int, ...],
    bodies: Sequence[Sequence[int]],
    trie: LabelTrie,
    begun: Sequence[Begun | None] = (),
) -> Any:
    """Mean log-probability of each label's tokens, shape (rows, labels), float32.

    The rows are read once; the tree's tokens are then read behind each. For labels of one token
    the softmax's denominator is left out: it is the same for all labels of a row.

    Args:
        engine: The model.
        head: Tokens that all rows begin with.
        bodies: The rest of each row.
        trie: The labels.
        begun: For each row, what of it has been read; none: nothing.
    """
    import torch

    parts = trie.parts(max(engine.budget.tokens // len(bodies), 1))
    lengths = [len(body) for body in bodies]
    begun = begun or [None] * len(bodies)
    capacity = max(lengths) + max(map(len, parts), default=0)
    slots = Slots(len(bodies), capacity, passing=not (parts or any(begun)))
    kept = lay(slots, begun)
    new = [body[size:] for body, size in zip(bodies, kept, strict=True)]
    root = engine.read(slots, 0, new, kept, head, wanted="last")
    if not parts:
        return engine.label_logits(root, [path[0][1] for path in trie.paths])
    totals = torch.zeros(len(bodies), len(trie.paths), device=root.device)
    following = trie.following()
    _add(engine, totals, root, following[ROOT])
    for part in parts:
        states = engine.read_tree(
            slots, [trie.tokens[node] for node in part], trie.above(part), lengths, head
        )
        for i, node in enumerate(part):
            _add(engine, totals, states[:, i], following[node])
    return totals / torch.tensor([len(path) for path in trie.paths], device=totals.device)


def _add(engine: Engine, totals: Any, hidden: Any, following: list[tuple[int, int]]) -> None:
    """Add the log-probabilities of the tokens that may follow to their labels' totals."""
    logits = engine.label_logits(hidden, [token for _, token in following])
    norm = engine.logits(hidden).float().logsumexp(-1, keepdim=True)
    totals[:, [label for label, _ in following]] += logits - norm
