"""The last layer, run only for the tokens whose hidden states are asked for.

Of a prompt only the last token's state is read, of an instruction that rows share none. What the
other tokens leave in the last layer are their keys and values: it stops for them there. That saves
most of one layer in `layers`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MethodType
from typing import Any

from sqlllm.engine.attention import Step, Written
from sqlllm.engine.linear import filled, rounded


def narrow(model: Any) -> Any:
    """Change the last of a model's `layers` in place; the layer, for `widen`, or None.

    It then returns the states of `Step.wanted` alone. Whoever calls this compares the numbers.
    """
    layers = getattr(model, "layers", None)
    if not layers:
        return None
    layer = layers[-1]
    layer.forward = MethodType(_narrowed, layer)
    return layer


def widen(layer: Any) -> None:
    """Give a layer its own forward pass back."""
    del layer.forward


def _narrowed(self: Any, hidden_states: Any, *args: Any, sqlllm_step: Step, **options: Any) -> Any:
    forward, step = type(self).forward, sqlllm_step
    if step.wanted is None:
        return forward(self, hidden_states, *args, sqlllm_step=step, **options)
    with suppress(Written):
        forward(self, hidden_states, *args, sqlllm_step=replace(step, only_writes=True), **options)
    picked = partial(_picked, wanted=step.wanted, tokens=hidden_states.shape[1])
    if not len(step.wanted):
        return picked(hidden_states)
    args, options = picked((args, options))
    return forward(self, picked(hidden_states), *args, sqlllm_step=_of(step), **options)


def _picked(given: Any, wanted: Any, tokens: int) -> Any:
    """States, positions and the like, (1, tokens, ...) each, of the wanted tokens; filled up."""
    import torch

    if isinstance(given, dict):
        return {name: _picked(value, wanted, tokens) for name, value in given.items()}
    if isinstance(given, tuple):
        return tuple(_picked(value, wanted, tokens) for value in given)
    if isinstance(given, torch.Tensor) and given.shape[:2] == (1, tokens):
        return filled(given[:, wanted], rounded(len(wanted), given.device.type))
    return given


def _of(step: Step) -> Step:
    """The step of the wanted tokens, one of each row."""
    wanted = step.wanted
    placed = wanted if step.back is None else step.back[wanted]
    return replace(
        step,
        rows=step.rows[wanted],
        places=step.places[wanted],
        grid=wanted.new_ones(len(wanted)).cumsum(0)[:, None] - 1,
        back=None,
        seen=step.seen.flatten(0, 1)[placed, None],
        at=step.at.flatten()[placed, None],
        wanted=None,
        masks={},
    )
