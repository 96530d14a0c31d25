"""What this machine is, how fast it multiplies and moves memory, and what work holds of it."""

from __future__ import annotations

import gc
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlllm.bench.limits import Peaks
from sqlllm.engine import linear

GEMM = {"cpu": 2048, "mps": 4096, "cuda": 8192}  # large enough to reach the peak, short to run
STREAM = {"cpu": 1 << 28, "mps": 1 << 28, "cuda": 1 << 30}  # bytes, more than any cache holds
SAMPLE_SECONDS = 0.005


def describe(device: str, dtype: str) -> dict[str, Any]:
    """Names and versions, for the head of the report."""
    import torch
    import transformers

    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "dtype": dtype,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    fields: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name") or platform.processor() or platform.machine()
    family = fields.get("cpu family")
    return f"{name} (family {family}, model {fields.get('model')})" if family else name


def measure(device: str, dtype: str, *, rounds: int = 5) -> Peaks:
    """The best matrix product and the best stream over memory (read, or copy)."""
    return Peaks(flops=peak_flops(device, dtype, rounds=rounds), bandwidth=_bandwidth(device))


def peak_flops(device: str, dtype: str, *, rounds: int = 5) -> float:
    """Operations per second of the best of several square products."""
    import torch

    size = GEMM[device]
    if dtype == "int8":
        return _int8_operations(size, rounds)
    left = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    right = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    with torch.inference_mode():
        products: list[Callable[[], Any]] = [
            lambda: left @ right,
            lambda: torch.nn.functional.linear(left, right),  # the layout of a layer's weights
        ]
        if linear.packs(device, f"torch.{dtype}"):
            laid = linear.packed(right)
            products.append(lambda: linear.product(left, laid))
        best = min(_timed(product, device, rounds) for product in products)
    return 2.0 * size**3 / best


def _int8_operations(size: int, rounds: int) -> float:
    """On the CPU, by the product that layers use."""
    import torch

    from sqlllm.engine.int8 import Weight

    numbers = torch.randint(1, 255, (2 * size, size), dtype=torch.uint8)
    weight = Weight(numbers[:size].view(torch.int8), torch.ones(size))
    with torch.inference_mode():
        best = _timed(lambda: weight.times(numbers[size:], torch.float32), "cpu", rounds)
    return 2.0 * size**3 / best


def _bandwidth(device: str) -> float:
    import torch

    source = torch.ones(STREAM[device] // 4, device=device)
    target = torch.empty_like(source)
    read = STREAM[device] / _timed(source.sum, device, 5)
    copied = 2 * STREAM[device] / _timed(lambda: target.copy_(source), device, 5)
    return max(read, copied)


def _timed(work: Callable[[], Any], device: str, rounds: int) -> float:
    """The shortest of several runs, after one that doesn't count."""
    best = float("inf")
    for i in range(rounds + 1):
        started = time.perf_counter()
        work()
        synchronize(device)
        if i:
            best = min(best, time.perf_counter() - started)
    return best


def synchronize(device: str) -> None:
    """Wait for the accelerator."""
    import torch

    if device != "cpu":
        torch.accelerator.synchronize()


def resident() -> int:
    """Bytes that this process holds in memory."""
    import psutil

    held: int = psutil.Process().memory_info().rss
    return held


def settle() -> None:
    """Give freed memory back to the system, so that the level before a run means something."""
    from sqlllm.runtime.memory import give_back  # needs Arrow, and the options of a command do not

    gc.collect()
    give_back()


@contextmanager
def frozen() -> Iterator[None]:
    """While `settle` looks through what is made in it alone: libraries have a million objects."""
    settle()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class PeakMemory:
    """The most memory that was held inside a `with`, above the level before it.

    A thread reads the process's resident size every 5 ms. On CUDA the accelerator's memory counts
    instead, of which torch knows the peak.

    Attributes:
        bytes: The peak, once the block is left.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.bytes = 0
        self._cuda = device == "cuda"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        settle()
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()  # what is cached stays: to allocate takes time
            self._before = torch.cuda.memory_allocated()
        else:
            self._before = self._most = resident()
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cuda:
            import torch

            self._most = torch.cuda.max_memory_allocated()
        else:
            self._stop.set()
            self._thread.join()
            self._most = max(self._most, resident())
        self.bytes = max(self._most - self._before, 0)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._most = max(self._most, resident())
