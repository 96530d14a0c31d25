"""What models run on here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from sqlllm.doctor.finding import Finding, failed

SETS = ("avx2", "avx512_f", "avx512_bf16", "avx512_vnni", "amx_bf16", "sve_bf16", "bf16", "neon")
"""Instruction sets that decide how fast a CPU multiplies, as torch calls them."""

LITTLE = 1 << 30
"""Bytes of memory with which little can be done."""


def device() -> Iterator[Finding]:
    """Processor, memory, accelerator."""
    import psutil

    try:
        import torch
    except Exception as error:  # a build for another machine fails in many ways
        yield failed("device", "torch", error, fix="pip install --force-reinstall torch")
        return
    yield _cpu()
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    values = {"free_bytes": free, "total_bytes": total}
    text = f"{decimal(free)} free of {decimal(total)}"
    yield _roomy("memory", text, values, "end other programs: a model needs room")
    yield from _accelerator(torch)


def _roomy(name: str, text: str, values: dict[str, Any], fix: str) -> Finding:
    """A warning where little memory is free."""
    if values["free_bytes"] < LITTLE:
        return Finding("device", name, "warning", text, fix, values)
    return Finding("device", name, "ok", text, values=values)


def _cpu() -> Finding:
    import torch

    from sqlllm.bench.machine import describe
    from sqlllm.engine.device import precision

    dtype = precision("cpu")
    found = describe("cpu", dtype)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    sets = [name for name in SETS if known.get(name)]
    threads, cores = torch.get_num_threads(), int(found["cores"] or 1)
    text = f"{found['cpu']}, {cores} cores, {' '.join(sets) or 'plain'}, runs in {dtype}"
    values = {"cores": cores, "threads": threads, "instruction_sets": sets, "dtype": dtype}
    if threads < cores:
        return Finding(
            "device", "cpu", "warning", f"{text}; torch uses {threads} of them",
            "unset OMP_NUM_THREADS", values,
        )  # fmt: skip
    return Finding("device", "cpu", "ok", text, values=values)


def _accelerator(torch: Any) -> Iterator[Finding]:
    from sqlllm.engine.device import device as place
    from sqlllm.engine.device import precision

    here = place()
    if here == "cuda":
        free, total = torch.cuda.mem_get_info()
        major, minor = torch.cuda.get_device_capability()
        text = (
            f"{torch.cuda.get_device_name()}, compute {major}.{minor}, {decimal(free)} free of "
            f"{decimal(total)}, runs in {precision('cuda')}"
        )
        values = {"free_bytes": free, "total_bytes": total, "dtype": precision("cuda")}
        yield _roomy("cuda", text, values, "end other programs on it: nvidia-smi lists them")
    elif here == "mps":
        yield Finding("device", "mps", "ok", f"Apple GPU, runs in {precision('mps')}")
    elif Path("/proc/driver/nvidia/version").exists():
        build = "was built without CUDA" if torch.version.cuda is None else "can't use it"
        yield Finding(
            "device", "accelerator", "warning",
            f"there is an NVIDIA driver, but torch {torch.__version__} {build}",
            "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu128",
        )  # fmt: skip
    else:
        yield Finding("device", "accelerator", "ok", "none: models run on the CPU")
