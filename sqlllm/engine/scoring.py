"""How probable each label is as the answer, in one forward pass per row, without decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlllm.engine.prefix import Prefixes

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

    def ancestors(self, node: int) -> list[int]:
        """The node and all above it, without the root."""
        found = []
        while node != ROOT:
            found.append(node)
            node = self.parents[node]
        return found

    def depth(self, node: int) -> int:
        """1 for a child of the root."""
        return len(self.ancestors(node))


def score(
    model: Any,
    prefixes: Prefixes,
    head: tuple[int, ...],
    bodies: Sequence[Sequence[int]],
    trie: LabelTrie,
) -> Any:
    """Mean log-probability of each label's tokens, shape (rows, labels), float32.

    For labels of one token the softmax's denominator is left out: it is the same for all labels
    of a row. The tree's tokens stand behind each row's own and see the prefix, the row and their
    own ancestors (tree attention: Miao et al., SpecInfer, arXiv 2305.09781).

    Args:
        model: A causal language model whose layers all attend to everything before.
        prefixes: Keys and values of heads.
        head: Tokens that all rows begin with.
        bodies: The rest of each row.
        trie: The labels.
    """
    import torch

    rows, width, nodes = len(bodies), max(map(len, bodies)), len(trie.tokens)
    before = len(head)
    ids = torch.zeros(rows, width + nodes, dtype=torch.long)
    places = torch.zeros_like(ids)
    seen = torch.zeros(rows, width + nodes, before + width + nodes, dtype=torch.bool)
    seen[:, :, :before] = True
    seen[:, :width, before : before + width] = torch.ones(width, width, dtype=torch.bool).tril()
    depths = torch.tensor([trie.depth(node) for node in range(nodes)], dtype=torch.long)
    for node in range(nodes):
        above = [before + width + a for a in trie.ancestors(node)]
        seen[:, width + node, above] = True
    for row, body in enumerate(bodies):
        ids[row, : len(body)] = torch.tensor(body)
        places[row, :width] = torch.arange(before, before + width)
        places[row, width:] = before + len(body) - 1 + depths
        seen[row, width:, before : before + len(body)] = True
    ids[:, width:] = torch.tensor(trie.tokens, dtype=torch.long)
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(
        ~seen, torch.finfo(model.dtype).min
    )
    hidden = model.model(
        input_ids=ids.to(model.device),
        attention_mask=mask[:, None].to(model.device),
        position_ids=places.to(model.device),
        past_key_values=prefixes.expanded(head, rows),
        use_cache=bool(head),
    )[0]
    last = torch.tensor([len(body) - 1 for body in bodies], device=hidden.device)
    root = hidden[torch.arange(rows, device=hidden.device), last]
    return _label_scores(model, torch.cat([root[:, None], hidden[:, width:]], dim=1), trie)


def _label_scores(model: Any, hidden: Any, trie: LabelTrie) -> Any:
    """From hidden states (rows, 1 + nodes, size), the root's first."""
    import torch

    weight = model.lm_head.weight
    if not trie.tokens:
        # In float32: bfloat16 logits are multiples of 1/8 and tie.
        tokens = [path[0][1] for path in trie.paths]
        return hidden[:, 0].float() @ weight[tokens].float().T
    norms = torch.stack([_logsumexp(model, hidden[:, i]) for i in range(hidden.shape[1])], dim=1)
    scores = []
    for path in trie.paths:
        at = [node + 1 for node, _ in path]
        tokens = [token for _, token in path]
        logits = (hidden[:, at].float() * weight[tokens].float()).sum(-1)
        scores.append((logits - norms[:, at]).mean(-1))
    return torch.stack(scores, dim=1)


def _logsumexp(model: Any, hidden: Any) -> Any:
    return model.lm_head(hidden).float().logsumexp(-1)


def score_apart(model: Any, bodies: Sequence[Sequence[int]], trie: LabelTrie) -> Any:
    """As `score`, each label in a row of its own: for layers that attend to a window only.

    Args:
        model: Any causal language model.
        bodies: The whole prompts.
        trie: The labels.
    """
    import torch

    pairs = [(body, [token for _, token in path]) for body in bodies for path in trie.paths]
    width = max(len(body) + len(label) for body, label in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    for i, (body, label) in enumerate(pairs):
        ids[i, : len(body) + len(label)] = torch.tensor([*body, *label])
    # Padding is on the right, where causal attention never looks, so no mask is needed.
    hidden = model.model(input_ids=ids.to(model.device), use_cache=False)[0]
    scores = []
    for i, (body, label) in enumerate(pairs):
        at = hidden[i, len(body) - 1 : len(body) + len(label) - 1]
        logits = (at.float() * model.lm_head.weight[label].float()).sum(-1)
        scores.append((logits - _logsumexp(model, at)).mean())
    return torch.stack(scores).view(len(bodies), len(trie.paths))
