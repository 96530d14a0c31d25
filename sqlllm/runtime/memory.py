"""Memory that is free, but still the process's."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

POOL = pa.system_memory_pool()
"""For what a statement keeps of its texts and answers. Arrow's own pool gives back what the calling
thread has freed, and no more; DuckDB calls from several."""


def give_back() -> None:
    """Return it to the system, in a few milliseconds.

    The allocators keep what a step over many rows has freed, in pieces that the next step doesn't
    fit into: without this, a statement's memory grows by some hundred bytes a row.
    """
    pa.default_memory_pool().release_unused()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)
