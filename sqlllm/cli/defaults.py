"""The options that say which models answer where a query names none."""

from __future__ import annotations

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--embed-model`."""
    parser.add_argument(
        "--model",
        help="default model for everything but embeddings: a name, or a URI such as hf:<folder>",
    )
    parser.add_argument("--embed-model", help="default model for embeddings, likewise")


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """Those of them that were given, as `connect` takes them."""
    said = {"model": given.model, "embed_model": given.embed_model}
    return {name: value for name, value in said.items() if value is not None}
