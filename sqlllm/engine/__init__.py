"""In-process inference of causal language models on torch."""

from __future__ import annotations
