"""Whether a model gives here what it gives in transformers' own forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlllm.engine import attention
from sqlllm.engine.device import no_numbers, precision
from sqlllm.engine.int8 import quantize
from sqlllm.engine.last_layer import narrow, widen
from sqlllm.engine.linear import speed_up, undo
from sqlllm.engine.positions import window
from sqlllm.engine.slots import Slots

if TYPE_CHECKING:
    from sqlllm.engine.engine import Engine

TRIED = 40
"""Tokens on which a model is tried: so many that passes are filled up (`rounded`)."""

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.08, "float16": 0.02}
"""Relative difference of logits to transformers' own forward pass; a wrong mask makes about 1."""

INT8 = 0.25
"""The same for int8, to the model as it was: SmolLM2's is 0.02."""


class Unsuitable(Exception):
    """A model that can't run here; it says why, as the rest of "the model ..."."""


def tried(engine: Engine, *, in_int8: bool) -> int:
    """Give the engine's model this package's attention and layers, where its logits stay the same.

    Args:
        engine: All of it but `token_bytes`.
        in_int8: Change linear layers to int8, which can't be undone.

    Returns:
        Bytes of one token's keys and values.

    Raises:
        Unsuitable: They don't; the model is left as it was.
        ConfigError: The model's own logits are no numbers.
    """
    model = engine.model
    _check_kind(model)
    tokens = [(7919 * i + 13) % model.get_output_embeddings().weight.shape[0] for i in range(TRIED)]
    before, tolerance = model.config._attn_implementation, TOLERANCE[_name(model.dtype)]
    expected = _expected(model, tokens)
    model.set_attn_implementation(attention.register())
    # A model's own code may want its plain layers.
    for change in (_quantized,) if in_int8 else (speed_up, lambda _: []):
        changed, slots = change(model), Slots(2, TRIED)
        try:
            difference = _difference(engine, slots, tokens, expected)
            if difference >= (INT8 if in_int8 else tolerance):
                where = "in int8" if in_int8 else "for packed rows"
                reason = f"gives other numbers {where} (by {difference:.0%})"
            elif window(model.config) and not engine.windows:
                reason = "doesn't tell its layers' window"
            else:
                _narrow(engine, tokens, tolerance)
                return slots.bytes_per_token()
        except Exception as error:  # whatever a model's own code makes of it
            reason = f"can't take packed rows ({type(error).__name__}: {error})"
        undo(changed)
    model.set_attn_implementation(before)
    raise Unsuitable(reason)


def _check_kind(model: Any) -> None:
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if others := kinds - {"full_attention", "sliding_attention"}:
        raise Unsuitable("has layers of another kind: " + ", ".join(sorted(others)))
    if not getattr(model, "_supports_attention_backend", False):
        raise Unsuitable("has attention of its own")
    if model.get_output_embeddings() is None:
        raise Unsuitable("has no output matrix")


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _expected(model: Any, tokens: list[int]) -> Any:
    """The last two tokens' logits, by transformers."""
    import torch

    model.set_attn_implementation("eager")  # others leave out what they can't do
    with torch.inference_mode():
        ids = torch.tensor([tokens], device=model.device)
        logits = model(input_ids=ids).logits[0, -2:].float()
    if not bool(logits.isfinite().all()):
        raise no_numbers(model.dtype)
    return logits


def _quantized(model: Any) -> list[Any]:
    """Nothing can be undone."""
    import torch

    if not quantize(model, getattr(torch, precision(model.device.type))):
        raise Unsuitable("has no plain linear layers")
    return []


def _difference(engine: Engine, slots: Slots, tokens: list[int], expected: Any) -> float:
    """Of the last two tokens' logits, read in steps behind a prefix, among other rows."""
    head = tuple(tokens[:7])
    engine.read(slots, 0, [tokens[7:33], tokens[7:14]], [0, 0], head)
    hidden = engine.read(slots, 0, [tokens[33:], tokens[14:]], [26, 7], head)[[5, 6, -2, -1]]
    engine.let_go()
    expected = expected.repeat(2, 1)
    few = engine.label_logits(hidden, range(8))
    return max(_off(engine.logits(hidden), expected), _off(few, expected[:, :8]))


def _off(got: Any, right: Any) -> float:
    return float((got.float() - right).norm() / right.norm())


def _narrow(engine: Engine, tokens: list[int], tolerance: float) -> None:
    """Run the last layer for wanted tokens only, if that gives the same."""
    rows, kept, head = [tokens[7:], tokens[7:13]], [0, 0], tuple(tokens[:7])
    expected = engine.read(Slots(2, TRIED), 0, rows, kept, head)[[len(rows[0]) - 1, -1]].float()
    layer = narrow(engine.model.base_model)
    if layer is None:
        return
    engine.let_go()
    engine.narrowed = True
    try:
        got = engine.read(Slots(2, TRIED), 0, rows, kept, head, wanted="last")
        engine.narrowed = _off(got, expected) < tolerance
    except Exception:  # whatever a model's own code makes of it
        engine.narrowed = False
    engine.let_go()
    if not engine.narrowed:
        widen(layer)
