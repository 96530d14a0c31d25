"""Linear layers in int8, on CPUs: weights and what they are multiplied with.

x W is (x H)(H W) for an orthogonal H. Blocks of a Hadamard matrix spread a number that stands out
over its neighbours, so that rounding to 255 steps costs the others less (QuaRot, Ashkboos et al.,
arXiv 2404.00456, which has it in some layers; here it is in all, as no model's own code changes).
Each token has its own step, and sums of products of int8 are exact: what a row gets doesn't depend
on the rows beside it. Experts that are slices of one tensor stay as they are.
"""

from __future__ import annotations

import math
import threading
import weakref
from functools import cache
from types import MethodType
from typing import Any

from sqlllm.engine.linear import is_gated, is_linear
from sqlllm.errors import ConfigError, first_line

BLOCK = 64
"""Most channels that are turned into each other; 16 lose twice as much, 512 gain nothing."""

ROWS = 256
"""Tokens at once: what is between two products is in the caches, and calls cost little."""

STEPS = 127  # on each side of 0

PRODUCT = "qlinear_pointwise"  # oneDNN's, as torch.compile uses it

HINT = "leave dtype=int8 out of the model's URI"


def check(device: str) -> None:
    """Refuse int8 where it can't run.

    Raises:
        ConfigError: It says why.
    """
    if reason := f"is for CPUs, and this is {device}" if device != "cpu" else missing():
        msg = f"int8 {reason}"
        raise ConfigError(msg, hint=HINT)


def missing() -> str:
    """Why this CPU can't, as the rest of "int8 ..."; empty where it can.

    Older ones add pairs of products in 16 bits, which overflow.
    """
    import torch

    mkldnn: Any = torch.backends.mkldnn
    if not mkldnn.is_available() or not hasattr(torch.ops.onednn, PRODUCT):
        return "needs torch with oneDNN"
    width = 64
    weight = torch.full((16, width), STEPS, dtype=torch.int8)
    codes = torch.full((32, width), 255, dtype=torch.uint8)
    try:
        layer = Weight(weight, torch.ones(16))
        got = layer.times(codes, torch.float32)
    except RuntimeError as error:
        return f"doesn't run on this CPU ({first_line(error)})"
    exact = bool((got == width * STEPS * STEPS).all())
    return "" if exact else "needs a CPU that multiplies it exactly (VNNI)"


def quantize(model: Any, rest: Any) -> int:
    """Change the linear layers in place, for good; how many there are.

    The output matrix keeps its own numbers, too: labels take rows of it, and it may be the
    embedding.

    Args:
        model: A causal language model on the CPU.
        rest: In which precision all else is from now on.
    """
    head, shared, layers = model.get_output_embeddings(), _Shared(), []
    for module in list(model.modules()):
        if is_gated(module):
            module.forward = MethodType(_gated, module)
        elif is_linear(module):
            module.forward = MethodType(_linear, module)
            module.shared = shared
            layers.append(module)
    for module in model.modules():
        if is_linear(module):
            _pack(module, keep=module is head)
    for parameter in model.parameters():  # transformers maps files: a part in use holds them whole
        parameter.data = parameter.data.to(rest, copy=True)
    return sum(layer is not head for layer in layers)


class Weight:
    """A layer's weights, as oneDNN's kernel reads them."""

    def __init__(self, weight: Any, steps: Any) -> None:
        import torch

        self._packed = torch.ops.onednn.qlinear_prepack(weight, [ROWS, weight.shape[1]])
        self._steps = steps
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)

    def times(self, codes: Any, dtype: Any) -> Any:
        """(T, in) codes to (T, out); the tokens' own steps are left to the caller."""
        import torch

        return torch.ops.onednn.qlinear_pointwise(
            codes, 1.0, STEPS + 1, self._packed, self._steps, self._zeros,
            None, 1.0, 0, dtype, "none", [], "",
        )  # fmt: skip


class _Shared(threading.local):
    """The codes of what a layer was given last: queries, keys and values are given the same."""

    def __init__(self) -> None:
        self._of: Any = None
        self._codes: list[tuple[Any, Any]] = []

    def codes(self, x: Any) -> list[tuple[Any, Any]]:
        if self._of is None or self._of() is not x:
            rows = x.reshape(-1, x.shape[-1])
            self._of, self._codes = weakref.ref(x), [_codes(part) for part in rows.split(ROWS)]
        return self._codes


def _pack(module: Any, *, keep: bool) -> None:
    weight = _turned(module.weight.detach().float())
    if not keep:
        del module.weight
    steps = _steps(weight)
    module.packed = Weight(_rounded(weight, steps), steps.flatten())


def _linear(self: Any, x: Any) -> Any:
    import torch

    dtype, parts = x.dtype, self.shared.codes(x)
    out = x.new_empty(x.numel() // x.shape[-1], self.out_features)
    for (codes, steps), to in zip(parts, out.split(ROWS), strict=True):
        torch.mul(self.packed.times(codes, dtype), steps, out=to)
    if self.bias is not None:
        out += self.bias
    return out.view(*x.shape[:-1], self.out_features)


def _gated(self: Any, x: Any) -> Any:
    """down(act(gate(x)) * up(x)), some rows at a time, as its activations are the widest."""
    import torch

    gate, up, down = self.gate_proj.packed, self.up_proj.packed, self.down_proj.packed
    rows = x.reshape(-1, x.shape[-1])
    out: Any = torch.empty_like(rows)
    for part, to in zip(rows.split(ROWS), out.split(ROWS), strict=True):
        codes, steps = _codes(part)
        wide = self.act_fn(gate.times(codes, x.dtype).mul_(steps))
        wide.mul_(up.times(codes, x.dtype))  # times the steps, which don't change its codes
        codes, times = _codes(wide)
        torch.mul(down.times(codes, x.dtype), times.mul_(steps), out=to)
    return out.view(x.shape)


def _codes(x: Any) -> tuple[Any, Any]:
    """(T, size): as numbers 1 to 255, of which 128 is 0; and the step of each token, (T, 1)."""
    import torch

    x = _turned(x).float()  # in bfloat16 the largest could round to 128
    steps = _steps(x)
    return _rounded(x, steps).view(torch.uint8).bitwise_xor_(STEPS + 1), steps


def _steps(x: Any) -> Any:
    """What a row's numbers are multiples of once they are rounded: (rows, 1)."""
    import torch

    most = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
    return most.clamp_(min=1e-12).div_(STEPS)


def _rounded(x: Any, steps: Any) -> Any:
    """In multiples of the steps; `x` is used up."""
    import torch

    return x.div_(steps).round_().to(torch.int8)


def _turned(x: Any) -> Any:
    """x H, in memory of its own."""
    import torch

    block = math.gcd(x.shape[-1], BLOCK)
    turn = hadamard(block).to(x.dtype)
    return torch.mm(x.reshape(-1, block), turn).view(x.shape)


@cache
def hadamard(size: int) -> Any:
    """An orthogonal matrix of the numbers 1 and -1 over sqrt(size): Sylvester's construction.

    Example:
        >>> hadamard(4).tolist()[1]
        [0.5, -0.5, 0.5, -0.5]
    """
    import torch

    signs = torch.ones(1, 1)
    while len(signs) < size:
        signs = torch.cat([torch.cat([signs, signs], 1), torch.cat([signs, -signs], 1)])
    return signs / size**0.5
