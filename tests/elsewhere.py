"""A device that isn't there: what a GPU would run, run here, and what it would wait for.

Its tensors are kept in main memory. As on a GPU, tensors of two devices can't be mixed, memory can
run out, and whoever wants a number waits until it is there. It is torch's PrivateUse1 backend
written in Python. A process that has imported this has an accelerator, as far as libraries can
tell: tests do it in a process of their own (`test_elsewhere`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
PICKS = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}

kernels: Counter[str] = Counter()
"""What has run there."""

waits: Counter[str] = Counter()
"""What needed a result here before anything more could be sent there."""

most_bytes: int | None = None
"""Of one tensor; None: as many as there are here."""


class There(torch.Tensor):
    """A tensor on the device; `data_here` are its numbers."""

    data_here: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, data: torch.Tensor) -> There:
        with torch.inference_mode(data.is_inference()):
            made: There = torch.Tensor._make_wrapper_subclass(
                cls,
                data.shape,
                strides=data.stride(),
                storage_offset=data.storage_offset(),
                dtype=data.dtype,
                device=torch.device(NAME, 0),
                requires_grad=data.requires_grad,
            )
        made.data_here = data
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, _: Any, args: Any = (), options: Any = None) -> Any:
        return run(function, args, options or {})


def run(function: Any, args: Any, options: dict[str, Any]) -> Any:
    """An operation of which a tensor, or the result, is there."""
    if function._schema.name == "aten::to":
        return moved(function, args, options)
    if function._can_decompose():
        return function.decompose(*args, **options)
    tensors = list(tensors_in((args, options)))
    theirs = [x for x in tensors if isinstance(x, There)]
    onto = options.get("device")
    if onto is not None:
        result_there = torch.device(onto).type == NAME
        options = {**options, "device": "cpu"}
    else:
        result_there = isinstance(args[0], There) if function in COPIES else bool(theirs)
    if theirs:
        check(function, args, tensors, result_there=result_there)
    if not function.is_view:
        kernels[str(function)] += 1
    same = {id(x.data_here): x for x in theirs}
    args, options = changed((args, options), lambda x: getattr(x, "data_here", x))
    if function is aten.histc.default and not args[0].is_floating_point():
        args = (args[0].float(), *args[1:])  # a GPU counts integers, too
    out = function(*args, **options)
    return changed(out, lambda x: placed(x, same)) if result_there else out


def tensors_in(given: Any) -> Iterator[torch.Tensor]:
    if isinstance(given, torch.Tensor):
        yield given
    elif isinstance(given, list | tuple | dict):
        for part in given.values() if isinstance(given, dict) else given:
            yield from tensors_in(part)


def changed(given: Any, change: Callable[[torch.Tensor], Any]) -> Any:
    """The same with other tensors."""
    if isinstance(given, torch.Tensor):
        return change(given)
    if isinstance(given, dict):
        return {name: changed(part, change) for name, part in given.items()}
    if isinstance(given, list | tuple):
        return type(given)(changed(part, change) for part in given)
    return given


def moved(function: Any, args: Any, options: dict[str, Any]) -> Any:
    """`Tensor.to`, which torch can take apart for devices only that are compiled into it."""
    names = [argument.name for argument in function._schema.arguments]
    given = dict(zip(names, args, strict=False)) | options
    tensor, like = args[0], given.get("other", args[0])
    device = torch.device(given.get("device") or like.device)
    dtype = given.get("dtype") or like.dtype
    if (device.type, dtype) == (tensor.device.type, tensor.dtype) and not given.get("copy"):
        return tensor
    return run(aten._to_copy.default, (tensor,), {"device": device, "dtype": dtype})


def check(function: Any, args: Any, tensors: list[Any], *, result_there: bool) -> None:
    """Refuse what a GPU refuses; count what is waited for."""
    if function in COPIES:
        waits[str(function)] += not result_there
        return
    if function in PICKS:  # indices may come from here
        tensors = [args[0], *args[2:3]]
        masks = [x for x in args[1] if x is not None and x.dtype == torch.bool]
        waits["mask"] += bool(masks)  # how many are picked, decides the result's size
    waits[str(function)] += function in WAITS
    if here := [tuple(x.shape) for x in tensors if not isinstance(x, There) and x.dim()]:
        msg = f"{function}: tensors of shape {here} are on the cpu, others are not"
        raise RuntimeError(msg)


def placed(data: torch.Tensor, same: dict[int, There]) -> Any:
    """A result there; what was changed in place is the tensor that it was."""
    size = data.numel() * data.element_size()
    if most_bytes is not None and size > most_bytes:
        msg = f"{NAME} out of memory: tried to allocate {size} bytes"
        raise torch.OutOfMemoryError(msg)
    found = same.get(id(data))
    return There(data) if found is None else found


def setup() -> None:
    """For the thread that runs models as well as this one."""
    from sqlllm.engine.worker import on_model_thread

    # Otherwise torch.tensor(..., device=NAME) asks a compiled backend.
    torch._C._set_only_lift_cpu_tensors(True)
    on_model_thread(torch._C._set_only_lift_cpu_tensors, True)


_setup_privateuseone_for_python_backend(NAME)
_library = torch.library.Library("_", "IMPL")
_library.fallback(lambda function, *args, **options: run(function, args, options), "PrivateUse1")
setup()
