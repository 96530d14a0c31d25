"""Linear layers as oneDNN runs them best, on CPUs: packed, in few sizes, with activations."""

from __future__ import annotations

from collections.abc import Iterable
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

PRECISIONS = ("torch.float32", "torch.bfloat16")
TOKENS = 2048
"""Of a pass for which weights are laid out. In float32 the layout for one token is slower for many;
this one is at least as fast for any number."""


STEP = 32
"""Token counts of large passes are multiples of this."""


def rounded(tokens: int, device: str) -> int:
    """How many tokens to run in place of so many: at most a sixteenth more, and only on CPUs.

    oneDNN makes a kernel for each size of a product and keeps 1,024 of them, and so does torch's
    layer above it: together 0.6 MB a size. As kernels lie between what passes take and free, that
    is then in pieces, too: minilm took 325 MB for texts of any length and takes 150.

    Example:
        >>> [rounded(tokens, "cpu") for tokens in (9, 101, 1000, 2048)]
        [9, 104, 1024, 2048]
    """
    step = min(max(1 << tokens.bit_length() >> 5, 1), STEP) if device == "cpu" else 1
    return -(-tokens // step) * step


def filled(tensor: Any, tokens: int) -> Any:
    """(1, T, ...) with zeros behind, so that there are so many tokens."""
    import torch

    missing = tokens - tensor.shape[1]
    if not missing:
        return tensor
    return torch.cat([tensor, tensor.new_zeros(1, missing, *tensor.shape[2:])], 1)


def speed_up(model: Any) -> list[Any]:
    """Change linear layers in place; the layers that were changed, for `undo`.

    * Weights lie in memory as oneDNN's kernels read them, in place of the plain ones. Plain ones
      are laid out anew by every product: in bfloat16 on two Zen 4 cores, packed ones are 1.4 to
      2.2 times as fast for up to 8 tokens, 1.2 to 1.4 for 32 and 1.02 to 1.1 for 2,048.
    * Activations and the product of gated layers are computed while a product is stored.
      down(act(gate(x)) * up(x)) takes four passes over the widest activations; this saves two.

    It is what torch.compile makes of a frozen model, without a compiler. The output matrix stays
    plain: labels take rows of it. Whoever calls this compares the numbers afterwards.
    """
    if not packs(model.device.type, str(model.dtype)):
        return []
    layers, head = [], model.get_output_embeddings()
    for module in list(model.modules()):
        if module is head:
            continue
        if is_gated(module):
            module.forward = MethodType(_gated, module)
        elif _is_intermediate(module):
            module.forward = MethodType(_intermediate, module)
        elif is_linear(module):
            module.forward = MethodType(_linear, module)
        else:
            continue
        layers.append(module)
    for module in layers:
        if is_linear(module):
            _pack(module)
    for parameter in model.parameters():  # transformers maps files: a part in use holds them whole
        parameter.data = parameter.data.clone()
    return layers


def packs(device: str, dtype: str) -> bool:
    """Whether weights can lie there as oneDNN's kernels read them.

    Example:
        >>> packs("cuda", "torch.bfloat16")
        False
    """
    import torch

    mkldnn: Any = torch.backends.mkldnn
    ours: Any = torch.ops.mkldnn
    if device != "cpu" or not mkldnn.is_available() or dtype not in PRECISIONS:
        return False
    if not (hasattr(ours, "_linear_pointwise") and hasattr(ours, "_reorder_linear_weight")):
        return False
    return dtype != "torch.bfloat16" or bool(ours._is_mkldnn_bf16_supported())


def packed(weight: Any) -> Any:
    """A layer's weights (out, in), laid out for its products."""
    import torch

    return torch.ops.mkldnn._reorder_linear_weight(weight, TOKENS)


def undo(layers: Iterable[Any]) -> None:
    """Give layers their own forward pass and plain weights back."""
    from torch.nn import Linear, Parameter

    for layer in layers:
        del layer.forward
        if type(layer) is Linear:
            layer.weight = Parameter(layer.weight.to_dense(), requires_grad=False)


def _pack(module: Any) -> None:
    plain = module._parameters.pop("weight").detach()  # oneDNN's tensors can't be parameters
    module.weight = packed(plain)


def is_linear(module: Any) -> bool:
    """A layer of torch's own class."""
    from torch.nn import Linear

    return type(module) is Linear


def is_gated(module: Any) -> bool:
    """A feed-forward part as in Llama: down(act(gate(x)) * up(x)), without biases."""
    parts: list[Any] = [getattr(module, p, None) for p in ("gate_proj", "up_proj", "down_proj")]
    return (
        all(is_linear(part) and part.bias is None for part in parts)
        and type(getattr(module, "act_fn", None)).__name__ in ACTIVATIONS
    )


def _is_intermediate(module: Any) -> bool:
    """As in BERT and its kin."""
    act = type(getattr(module, "intermediate_act_fn", None)).__name__
    return is_linear(getattr(module, "dense", None)) and act in ACTIVATIONS


def _linear(self: Any, x: Any) -> Any:
    return product(x, self.weight, self.bias)


def product(x: Any, weight: Any, bias: Any = None) -> Any:
    """(..., in) times weights that were `packed`: (..., out)."""
    import torch

    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


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
